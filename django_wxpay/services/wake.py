"""Ask a Celery worker to look at once, after the commit. Only a hint: beat asks again, truth lies in rows."""

import logging
import time

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)
QUIET_SECONDS = 30  # after a broker's failure nobody waits for it again so soon

_quiet_until = 0.0


def after_commit(task, unless=None):
    """Queue the task of that name (`django_wxpay.tasks.…`) once the present transaction is committed.

    unless: asked then; when true, nobody is woken.
    """
    transaction.on_commit(lambda: _queue(task, unless), robust=True)


def _queue(task, unless):
    global _quiet_until
    if (unless is not None and unless()) or time.monotonic() < _quiet_until:
        return
    try:
        current_app.send_task(f"django_wxpay.tasks.{task}", retry=False, ignore_result=True)
    except Exception as error:  # whatever the broker does, the caller's work is committed and beat will do the rest
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("could not queue task=%s error=%s: beat will do it", task, type(error).__name__)

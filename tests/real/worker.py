"""A shop's Celery worker with its beat: `python -m tests.real.worker '[processes, sleeps, [defences to take out]]'`.

Prints a line when it is ready. `sleeps`: a receiver of the shop takes so many seconds for each order's change.
"""

import json
import os
import sys
import tempfile
import time

import django
from celery.signals import worker_ready
from django.conf import settings


def main(processes, sleeps, without):
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from django_wxpay import signals
    from django_wxpay.beat import BEAT_SCHEDULE
    from django_wxpay.models import Order
    from tests.celery_app import app
    from tests.real import weaken
    from tests.real.world import settings_of_test

    app.set_default()
    app.conf.beat_schedule = BEAT_SCHEDULE
    app.conf.worker_hijack_root_logger = False
    settings.WXPAY = settings_of_test()
    weaken.take_out(*without)

    def slow_receiver(sender, **kwargs):
        time.sleep(sleeps)

    said = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Celery's banner

    def ready(**kwargs):
        os.write(said, b"ready\n")

    if sleeps:
        signals.state_changed.connect(slow_receiver, sender=Order)
    worker_ready.connect(ready)
    schedule = os.path.join(tempfile.mkdtemp(prefix="wxpay-beat-"), "schedule")
    app.worker_main(["worker", "-B", "-s", schedule, "-c", str(processes), "--without-gossip", "-l", "CRITICAL"])


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))

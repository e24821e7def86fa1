"""The shop's references: the same reference with the same words names the row that is there, and asks nothing more.

With other words it is refused. All that the shop said counts, whether or not our row keeps it: the comparison is with
what was written down to be sent.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from django.conf import settings
from django.utils.crypto import salted_hmac

from ..exceptions import ReferenceReused
from ..models import Operation, WireObject

R = TypeVar("R", bound=WireObject)
SALT = "django_wxpay.references"


def refuse_reuse(
    row: R,
    reference: str,
    action: str,
    *,
    on_row: Mapping[str, Any] | None = None,
    sent: Mapping[str, Any] | None = None,
    secret: str = "",
) -> R:
    """Return the row that a reference names; ReferenceReused unless the shop says the same of it as the first time.

    on_row: what the row itself keeps. sent: what stands in the fields of its first operation of that action; a value
    that was not given then is as good as "". secret: what was sent and never stored, but for its `digest`.
    """
    # The reference, too: MariaDB may have found a row whose own differs in case.
    known = {"reference": reference, **(on_row or {})}
    differing = [name for name, value in known.items() if getattr(row, name) != value]
    first = Operation.objects.of(row).filter(action=action).order_by("pk").first()
    if first is not None:
        said = json.loads(json.dumps(sent or {}))
        differing += [name for name, value in said.items() if (first.fields.get(name) or "") != (value or "")]
        if first.secret_digest and not _is_of(secret, first.secret_digest):
            differing.append("auth_code")
    if differing:
        raise ReferenceReused(reference, differing)
    return row


def digest(secret: str) -> str:
    """A keyed digest, by which a secret is recognised and not found out; "" for none."""
    return salted_hmac(SALT, secret, algorithm="sha256").hexdigest() if secret else ""


def _is_of(secret: str, known: str) -> bool:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    made = [salted_hmac(SALT, secret, secret=key, algorithm="sha256").hexdigest() for key in keys]
    return any(hmac.compare_digest(one, known) for one in made)

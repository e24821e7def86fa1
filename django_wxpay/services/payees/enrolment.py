"""The row of a person, before anybody knows whether he is authorised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError

from ... import conf
from ...client import fields
from ...client.errors import InvalidField
from ...client.texts import hide
from ...engine import registry, transactions
from ...engine.numbers import new_number
from ...models import PayeeAuthorization

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


def enrol(*, openid: str | None = None, user: User | None = None, merchant: str = "default") -> PayeeAuthorization:
    """The row of a person at a merchant, made when there is none. Nothing is sent; `sync` tells how he stands.

    openid: his, under the merchant's appid. Without one (an app does not know it before he signs) it is the row of
    the user. user: who he is in your shop.

    Joins the caller's transaction. Raises InvalidField (no openid and no user, or the openid is another user's),
    ImproperlyConfigured (a merchant of another region).
    """
    config = conf.merchant(merchant)
    if openid is None and user is None:
        raise InvalidField("Name an openid or a user.", field="openid")
    if openid is not None:
        openid = hide(openid)
        fields.identifier("openid", openid, 128)
    known = {"merchant": config.alias, "mchid": config.mchid, "appid": config.appid}
    row = PayeeAuthorization(**known, openid=openid, user=cast(Any, user), payee_no=new_number())
    registry.refuse_other_region(row, config.region)

    def find() -> PayeeAuthorization | None:
        rows = PayeeAuthorization.objects.filter(mchid=config.mchid, appid=config.appid)
        if openid is not None:
            return rows.filter(openid=openid).first()
        return rows.filter(user=cast(Any, user)).order_by("pk").first()

    try:
        with transactions.atomic():
            found = find()
            if found is None:
                row.save()
                return row
    except IntegrityError:
        found = find()  # somebody enrolled him at this very moment
        if found is None:
            raise
    if user is not None and found.user_id is None:
        PayeeAuthorization.objects.filter(pk=found.pk, user=None).update(user=user)
        found.refresh_from_db()
    if user is not None and found.user_id != user.pk:
        raise InvalidField("This openid is enrolled as another user's.", field="openid")
    return found

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from .base import WireObject

if TYPE_CHECKING:
    from .base import Text, TextOrNone, TimeOrNone
    from .orders import OrderQuerySet


class PayeeAuthorization(WireObject):
    """A person, and whether payments of this merchant's customers may go to him. Mainland.

    He signs in WeChat and withdraws in WeChat, as often as he likes, and nobody is notified: WeChat Pay is asked. What
    it said last is only what it said then; before each order it is asked again.

    Source: APIv3 manual, "Payments to individuals", /v3/ecommerce/individual-contracts; `state` is its `auth_state`.
    """

    subject = "payee"

    class State(models.TextChoices):
        UNAUTHORIZED = "UNAUTHORIZED", _("not authorised")
        AUTHORIZED = "AUTHORIZED", _("authorised")

    MOVES = {
        State.UNAUTHORIZED: frozenset({State.AUTHORIZED}),
        State.AUTHORIZED: frozenset({State.UNAUTHORIZED}),
    }
    FINAL = frozenset({State.UNAUTHORIZED})  # nothing more comes of it by itself; who signs leaves it
    OURS = frozenset()

    state: Text = models.CharField(
        _("auth_state"), max_length=32, choices=State.choices, default=State.UNAUTHORIZED
    )  # as WeChat Pay told it last
    orders: OrderQuerySet  # related
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="wxpay_payees",
    )  # fmt: skip
    payee_no: Text = models.CharField(_("our number"), max_length=32)
    openid: TextOrNone = models.CharField(_("openid"), max_length=128, null=True, blank=True)  # under appid
    individual_auth_id: TextOrNone = models.CharField(_("individual_auth_id"), max_length=32, null=True, blank=True)
    # The number of the latest attempt that was prepared at WeChat Pay; an app knows no openid before it.
    out_contract_code: TextOrNone = models.CharField(_("out_contract_code"), max_length=32, null=True, blank=True)
    operation_time: TimeOrNone = models.DateTimeField(_("authorised or withdrawn at"), null=True, blank=True)
    offered_at: TimeOrNone = models.DateTimeField(_("last asked to sign"), null=True, blank=True)

    class Meta:
        verbose_name = _("individual payee")
        verbose_name_plural = _("individual payees")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "payee_no"], name="wxpay_payee_number"),
            models.UniqueConstraint(fields=["mchid", "appid", "openid"], name="wxpay_payee_openid"),
            models.UniqueConstraint(fields=["mchid", "out_contract_code"], name="wxpay_payee_code"),
        ]
        indexes = [
            models.Index(fields=["state", "next_poll_at"], name="wxpay_payee_state"),
            models.Index(fields=["mchid", "individual_auth_id"], name="wxpay_payee_auth_id"),
        ]
        permissions = [("query_payeeauthorization", _("Can query individual payees"))]

    def __str__(self) -> str:
        return self.payee_no

    @property
    def number(self) -> str:
        """Ours: WeChat Pay knows him by his openid, which stands in no log."""
        return self.payee_no

    @property
    def is_authorized(self) -> bool:
        """Whether WeChat Pay called him authorised when it was asked last, and by which number."""
        return self.state == self.State.AUTHORIZED and bool(self.individual_auth_id)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, final

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import WireObject

if TYPE_CHECKING:
    from .base import Text, TextOrNone, TimeOrNone, Whole
    from .orders import OrderQuerySet

SIGNING_APPID = "wxbd687630cd02ce1d"  # WeChat Pay's own mini program for signing
SIGNING_PATH = "pages/Oversea/walletSelect?sessionId="


@final
class MiniProgramLaunch(TypedDict):
    """The argument of `wx.navigateToMiniProgram`."""

    appId: str
    path: str
    extraData: dict[str, Any]


@final
class AppLaunch(TypedDict):
    """What the Open SDK of an app is handed."""

    session_id: str


@final
class PageLaunch(TypedDict):
    """A page to open, or to show as a QR code."""

    sign_url: str


LaunchParams: TypeAlias = MiniProgramLaunch | AppLaunch | PageLaunch


class Contract(WireObject):
    """An auto-debit contract (papay): the user signs once, the shop deducts.

    Source: APIv3 manual, auto-debit, "Pre-entrust sign", POST /v3/global/papay/contracts/…
    """

    subject = "contract"

    class State(models.TextChoices):
        PENDING = "PENDING", _("waiting for the signature")
        EXPIRED = "EXPIRED", _("not signed in time")
        SIGNED = "SIGNED", _("signed")
        TERMINATED = "TERMINATED", _("terminated")

    class Channel(models.TextChoices):
        MINI_PROGRAM = "mini_program", _("mini program")
        APP = "app", _("app")
        JSAPI = "jsapi", _("official account page")
        H5 = "h5", _("mobile browser")
        WEB = "web", _("desktop browser (QR code)")

    ChannelWord: TypeAlias = Channel | Literal["mini_program", "app", "jsapi", "h5", "web"]

    MOVES = {
        State.PENDING: frozenset({State.EXPIRED, State.SIGNED, State.TERMINATED}),
        State.EXPIRED: frozenset(),
        State.SIGNED: frozenset({State.TERMINATED}),
        State.TERMINATED: frozenset(),
    }
    FINAL = frozenset({State.EXPIRED, State.TERMINATED})
    OURS = frozenset({State.PENDING, State.EXPIRED})
    EARLIER = {State.TERMINATED: frozenset({State.SIGNED})}

    state: Text = models.CharField(_("state"), max_length=32, choices=State.choices, default=State.PENDING)
    orders: OrderQuerySet  # related: what was charged to it
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="wxpay_contracts",
    )  # fmt: skip
    reference: TextOrNone = models.CharField(_("reference"), max_length=64, null=True, blank=True)
    out_contract_code: Text = models.CharField(_("out_contract_code"), max_length=32)
    contract_id: TextOrNone = models.CharField(_("contract_id"), max_length=64, null=True, blank=True)
    plan_id: Whole = models.BigIntegerField(_("plan_id"))
    openid: Text = models.CharField(_("openid"), max_length=128, blank=True, default="")
    openid_appid: Text = models.CharField(
        _("appid of the openid"),
        max_length=32,
        blank=True,
        default="",
        help_text=_("Empty: sub_appid where there is one, else appid."),
    )
    user_display_name: Text = models.CharField(_("user_display_name"), max_length=32)
    channel: Text = models.CharField(_("channel"), max_length=16, choices=Channel.choices, default=Channel.MINI_PROGRAM)
    session_id: Text = models.CharField(_("session_id"), max_length=128, blank=True, default="")
    sign_url: Text = models.CharField(_("sign_url"), max_length=1024, blank=True, default="")
    expired_time: TimeOrNone = models.DateTimeField(_("end of the signing session"), null=True, blank=True)
    contract_expire_time: TimeOrNone = models.DateTimeField(_("end of the contract"), null=True, blank=True)
    signed_time: TimeOrNone = models.DateTimeField(_("signed at"), null=True, blank=True)
    terminated_time: TimeOrNone = models.DateTimeField(_("terminated at"), null=True, blank=True)
    termination_mode: Text = models.CharField(_("termination mode"), max_length=32, blank=True, default="")
    termination_note: Text = models.CharField(_("termination note"), max_length=256, blank=True, default="")

    class Meta:
        verbose_name = _("contract")
        verbose_name_plural = _("contracts")
        ordering = ["-pk"]
        # Signed ones are many: none is read to find that each has its next query.
        indexes = [models.Index(fields=["state", "next_poll_at"], name="wxpay_contract_state")]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "out_contract_code"], name="wxpay_contract_out_contract_code"),
            models.UniqueConstraint(fields=["mchid", "contract_id"], name="wxpay_contract_contract_id"),
            models.UniqueConstraint(fields=["mchid", "sub_mchid", "reference"], name="wxpay_contract_sub_reference"),
        ]
        permissions = [
            ("terminate_contract", _("Can terminate contracts")),
            ("query_contract", _("Can query contracts")),
        ]

    def __str__(self) -> str:
        return self.out_contract_code

    @property
    def number(self) -> str:
        return self.out_contract_code

    @property
    def openid_under(self) -> str:
        """The appid that `openid` is under."""
        return self.openid_appid or self.sub_appid or self.appid

    @property
    def can_launch(self) -> bool:
        """Whether the user can still sign this session."""
        opened = self.session_id or self.sign_url
        is_open = opened and self.state == self.State.PENDING
        return bool(is_open and self.expired_time is not None and self.expired_time > timezone.now())

    def launch_params(self) -> LaunchParams | None:
        """What the front end needs to let the user sign, or None when there is nothing to launch (any more).

        mini_program: the argument of `wx.navigateToMiniProgram`. app: {"session_id"} (how the Open SDK opens it is
        not confirmed by the manual). jsapi, h5, web: {"sign_url"}, a page to open; the web one shows a QR code.
        """
        if not self.can_launch:
            return None
        if self.channel == self.Channel.MINI_PROGRAM:
            return {"appId": SIGNING_APPID, "path": SIGNING_PATH + self.session_id, "extraData": {}}
        if self.channel == self.Channel.APP:
            return {"session_id": self.session_id}
        return {"sign_url": self.sign_url}

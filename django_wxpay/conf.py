"""The one place where `settings.WXPAY` is read. Values are read when used, so `override_settings` works.

`merchant(alias)` describes one merchant, `client(alias)` is the process' connection to WeChat Pay for it.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .client import Client, Identity, KeyRing, crypto, keyfiles
from .client.errors import WxPayError
from .client.keyring import Keys

DEFAULTS: dict[str, Any] = {
    "MERCHANTS": {},
    "NOTIFY_URL_BASE": "",
    "CHECKOUT": "",
    # How long things may stay open. docs/reference/states.md tells which rule ends each state.
    "SESSION_EXPIRES_SECONDS": 3600,  # a signing session, from its creation
    "ORDER_EXPIRES_SECONDS": 3600,  # a deduction without an outcome is reversed
    "COMBINE_ORDER_EXPIRES_SECONDS": 1800,  # a combined order that is not paid is closed
    "OPERATION_STUCK_SECONDS": 86400,  # a request without an outcome becomes a discrepancy
    "NOTIFICATION_WAITING_SECONDS": 3600,  # a message about a row we do not know (yet)
    "NOTIFICATION_KEPT_DAYS": 90,
    # The first poll of an open object comes after this; later ones at growing distances (half the object's age).
    "CONTRACT_POLL_SECONDS": 15,
    "ORDER_POLL_SECONDS": 5,
    "REFUND_POLL_SECONDS": 60,
    "COMBINE_ORDER_POLL_SECONDS": 15,
    "SIGNED_CONTRACT_POLL_SECONDS": 86400,  # finds terminations whose notification was lost
    "PAYSCORE_PLAN_POLL_SECONDS": 60,
    "SIGN_PLAN_POLL_SECONDS": 60,
    "SIGNED_PLAN_POLL_SECONDS": 86400,  # plans and signed plans: finds what was stopped or cancelled elsewhere
    "SERVICE_ORDER_POLL_SECONDS": 30,
    "PAYEE_POLL_SECONDS": 30,  # a person who was asked to sign: for two hours, at growing distances
    "AUTHORIZED_PAYEE_POLL_SECONDS": 86400,  # finds who withdrew; before an order each payee is queried anyway
    "CLOCK_MARGIN_SECONDS": 60,  # WeChat Pay's clock may be so much behind ours: no service ends later than that ago
    "TILL_QUERY_SECONDS": 5,  # a quick payment without an outcome is queried so often
    "TILL_GIVE_UP_SECONDS": 45,  # then it is reversed: WeChat Pay lets a password prompt lapse about then
    "AUTH_CODE_PREFIXES": ("10", "11", "12", "13", "14", "15"),
    "REFUND_SPACING_SECONDS": 60,  # WeChat Pay: one refund of an order at a time, a minute apart
    "STATUS_QUERY_SECONDS": 3,  # a customer's status page asks WeChat Pay at most this often per row
    "DELIVERY_ATTEMPTS": 10,  # then a transition is parked until somebody asks for it
}

MERCHANT_DEFAULTS: dict[str, Any] = {
    "MODE": "direct",
    "REGION": "global",
    "SUB_MCHID": "",
    "SUB_APPID": "",
    "APIV3_KEY_PREVIOUS": "",
    "PUBLIC_KEY_ID": "",
    "PUBLIC_KEY": "",
    "CERTIFICATES": True,
    "MERCHANT_CATEGORY_CODE": "",
    # PayScore, mainland. WeChat Pay grants a service and its largest values; 0: unknown here, so not looked at.
    "SERVICE_ID": "",
    "PLAN_DURATION_MAX": 0,  # days
    "DEDUCTION_QUANTITY_MAX": 0,
    "RISK_AMOUNT_MAX": 0,  # fen, of one service order
    "PAYEE_SIGN_FORM": "A",  # individual payees: which lines requestSign signs; the manual's pages have two, A and B
    "CONNECT_TIMEOUT_SECONDS": 3,
    "READ_TIMEOUT_SECONDS": 10,
    "HOST": "",
    "BACKUP_HOSTS": (),
    "PROXIES": None,
    "CA_BUNDLE": "",
    "TRANSPORT": None,
    "TRUST_UNSIGNED_ERRORS": False,
    "LANGUAGE": "en",
}

REQUIRED = {
    "direct": ("MCHID", "APPID", "PRIVATE_KEY", "SERIAL_NO", "APIV3_KEY"),
    "institution": ("SP_MCHID", "SP_APPID", "PRIVATE_KEY", "SERIAL_NO", "APIV3_KEY"),
}
MODES = {"direct": "direct", "institution": "institution", "partner": "institution"}
SLACK_SECONDS = 30  # beyond the time-outs: half of it until a request leaves, half for its way


class Options:
    """One merchant's settings with their defaults: `options["HOST"]`. Shows no value, and is no mapping.

    Error trackers write down what a dictionary holds, wherever one stands in a frame; of other objects, their repr.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._given = setting("MERCHANTS")[alias]

    def __getitem__(self, name: str) -> Any:
        return self._given[name] if name in self._given else MERCHANT_DEFAULTS.get(name, "")

    def __repr__(self) -> str:
        return f"<Options of {self._alias}>"


@dataclass(frozen=True)
class Merchant:
    """One entry of `WXPAY["MERCHANTS"]`. `mchid` and `appid` are the signing ones (`sp_…` in institution mode)."""

    alias: str
    mode: str
    region: str
    mchid: str
    appid: str
    sub_mchid: str
    sub_appid: str
    options: Options = field(repr=False, compare=False)

    @property
    def is_institution(self) -> bool:
        return self.mode == "institution"

    @property
    def notify_url(self) -> str:
        base = setting("NOTIFY_URL_BASE")
        if not base:
            raise ImproperlyConfigured("WXPAY['NOTIFY_URL_BASE'] is missing: WeChat Pay could not tell us anything.")
        return f"{base.rstrip('/')}/{self.alias}/"

    @property
    def request_seconds(self) -> float:
        """How long after its claim a request may be under way: an upper bound.

        It leaves within `send_seconds` or not at all (`Client.before`). Then it has the read time-out once, for only a
        host that did not connect is followed by another; half of SLACK_SECONDS remain for its way.
        """
        answering: float = self.options["READ_TIMEOUT_SECONDS"]
        return self.send_seconds + answering + SLACK_SECONDS / 2

    def category_code(self, given: str = "") -> str:
        """The merchant category code of a charge: as given, else the configured one.

        Raises ImproperlyConfigured when there is none.
        """
        code = given or self.options["MERCHANT_CATEGORY_CODE"]
        if not code:
            raise ImproperlyConfigured(
                f"{_where(self.alias)}['MERCHANT_CATEGORY_CODE'] is missing, and the charge names none; "
                "global payments need it."
            )
        return str(code)

    @property
    def service_id(self) -> str:
        """The PayScore service. Raises ImproperlyConfigured when there is none."""
        if not self.options["SERVICE_ID"]:
            raise ImproperlyConfigured(f"{_where(self.alias)}['SERVICE_ID'] is missing: PayScore needs it.")
        return str(self.options["SERVICE_ID"])

    @property
    def send_seconds(self) -> float:
        """How long after its claim a request may leave: each host may take the connect time-out once."""
        hosts = 1 + len(self.options["BACKUP_HOSTS"])
        connecting: float = self.options["CONNECT_TIMEOUT_SECONDS"] * hosts
        return SLACK_SECONDS / 2 + connecting

    def sub_of(self, sub_mchid: str | None, sub_appid: str | None) -> tuple[str, str]:
        """The sub-merchant of a call: as given, else the configured default; ('', '') in direct mode.

        Raises ImproperlyConfigured when institution mode has none.
        """
        if not self.is_institution:
            if sub_mchid or sub_appid:
                raise ImproperlyConfigured(f"Merchant {self.alias!r} is in direct mode: it has no sub-merchants.")
            return "", ""
        chosen = self.sub_mchid if sub_mchid is None else sub_mchid
        if not chosen:
            raise ImproperlyConfigured(
                f"Merchant {self.alias!r} is in institution mode: pass sub_mchid=…, or set its SUB_MCHID."
            )
        if sub_appid is None:
            sub_appid = self.sub_appid if chosen == self.sub_mchid else ""
        return chosen, sub_appid


def setting(name: str) -> Any:
    """A value of `WXPAY`, or its default."""
    return getattr(settings, "WXPAY", {}).get(name, DEFAULTS[name])


def aliases() -> list[str]:
    return list(setting("MERCHANTS"))


def merchant(alias: str) -> Merchant:
    """The merchant of that alias. Raises ImproperlyConfigured, naming what is missing."""
    if alias not in aliases():
        raise ImproperlyConfigured(f"WXPAY['MERCHANTS'] has no {alias!r}; it has {', '.join(aliases()) or 'none'}.")
    if not isinstance(setting("MERCHANTS")[alias], Mapping):
        raise ImproperlyConfigured(f"{_where(alias)} must be a dictionary.")
    options = Options(alias)
    mode = MODES.get(options["MODE"])
    if mode is None:
        raise ImproperlyConfigured(f"{_where(alias)}['MODE'] must be one of {', '.join(MODES)}.")
    missing = [name for name in REQUIRED[mode] if not options[name]]
    if missing:
        raise ImproperlyConfigured(f"{_where(alias)} lacks {', '.join(missing)}.")
    prefix = "SP_" if mode == "institution" else ""
    return Merchant(
        alias=alias,
        mode=mode,
        region=options["REGION"],
        mchid=options[prefix + "MCHID"],
        appid=options[prefix + "APPID"],
        sub_mchid=options["SUB_MCHID"],
        sub_appid=options["SUB_APPID"],
        options=options,
    )


def load_key(options: Options | Mapping[str, Any], name: str) -> Any:
    """The key of a merchant's setting (PRIVATE_KEY, PUBLIC_KEY), given as its text or as the path of its file.

    Raises KeyFileUnreadable, or ValueError when it is no such key; no error quotes what was given.
    """
    parse: Callable[[Any], Any] = crypto.private_key if name == "PRIVATE_KEY" else crypto.public_key
    return parse(keyfiles.text_of(name, options[name]))


def proxies(given: Mapping[str, str] | None) -> dict[str, str]:
    """PROXIES as requests understands it: "HTTPS", "https:" and "https://" are "https", or would be ignored."""
    return {str(key).lower().rstrip(":/"): proxy for key, proxy in (given or {}).items()}


def _where(alias: str) -> str:
    return f"WXPAY['MERCHANTS'][{alias!r}]"


def checkout() -> Any:
    """The shop's class named by `WXPAY["CHECKOUT"]`, instantiated."""
    path = setting("CHECKOUT")
    if not path:
        raise ImproperlyConfigured("WXPAY['CHECKOUT'] is missing: it names the class that knows your offers.")
    return import_string(path)()


class KeyStore(Protocol):
    """Where platform certificates are kept: both give {serial: key}, or None."""

    def load(self, alias: str) -> Keys | None: ...

    def refresh(self, alias: str) -> Keys | None: ...


class NoStore:
    """Where platform certificates come from until `services.certificates` plugs in the database."""

    def load(self, alias: str) -> Keys | None:
        return {}

    def refresh(self, alias: str) -> Keys | None:
        return None


_key_store: KeyStore = NoStore()
_clients: dict[str, Client] = {}
_lock = threading.Lock()


def use_key_store(store: KeyStore) -> None:
    """Plug in where platform certificates are kept: `load(alias)` and `refresh(alias)` give {serial: key}."""
    global _key_store
    _key_store = store


def client(alias: str) -> Client:
    """The process' client of a merchant: one keep-alive session, made after fork."""
    made = _clients.get(alias)
    if made is None:
        with _lock:
            made = _clients.get(alias)
            if made is None:
                made = _clients[alias] = _build_client(merchant(alias))
    return made


def quick_client(alias: str, seconds: float) -> Client:
    """A client of its own that waits at most `seconds` to connect and to be answered; it fetches no certificates."""
    return _build_client(merchant(alias), seconds)


def _build_client(merchant: Merchant, seconds: float | None = None) -> Client:
    try:
        return _assemble(merchant, seconds)
    except (ValueError, WxPayError) as error:
        reason = str(error)
    raise ImproperlyConfigured(f"{_where(merchant.alias)} cannot be used: {reason}")


def _assemble(merchant: Merchant, seconds: float | None) -> Client:
    options = merchant.options
    transport = options["TRANSPORT"]
    if isinstance(transport, str):
        transport = import_string(transport)()
    public_keys = {}
    if options["PUBLIC_KEY_ID"]:
        public_keys[options["PUBLIC_KEY_ID"]] = load_key(options, "PUBLIC_KEY")
    fetch = options["CERTIFICATES"] and seconds is None
    identity = Identity(
        mode=merchant.mode,
        region=merchant.region,
        mchid=merchant.mchid,
        appid=merchant.appid,
        serial_no=options["SERIAL_NO"],
        private_key=load_key(options, "PRIVATE_KEY"),
        apiv3_key=options["APIV3_KEY"],
        apiv3_key_previous=options["APIV3_KEY_PREVIOUS"],
        accept_language=options["LANGUAGE"],
    )
    keys = KeyRing(
        public_keys,
        load=(lambda: _key_store.load(merchant.alias)) if fetch else None,
        refresh=(lambda: _key_store.refresh(merchant.alias)) if fetch else None,
    )
    return Client(
        identity,
        keys=keys,
        host=options["HOST"] or None,
        backup_hosts=tuple(options["BACKUP_HOSTS"]) if seconds is None else (),
        connect_timeout=seconds or options["CONNECT_TIMEOUT_SECONDS"],
        read_timeout=seconds or options["READ_TIMEOUT_SECONDS"],
        proxies=proxies(options["PROXIES"]),
        ca_bundle=options["CA_BUNDLE"] or None,
        transport=transport,
        trust_unsigned_errors=options["TRUST_UNSIGNED_ERRORS"],
    )


def _forget_clients(*, setting: str | None = None, **kwargs: Any) -> None:
    if setting in (None, "WXPAY"):
        _clients.clear()


def _after_fork() -> None:
    # Another thread may have held the lock as the process forked; it is not here to let go of it.
    global _lock
    _lock = threading.Lock()
    _clients.clear()


setting_changed.connect(_forget_clients, dispatch_uid="django_wxpay.conf")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

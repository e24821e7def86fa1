"""Who calls: one merchant number with its keys, on its own or for sub-merchants."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import crypto, fields
from .errors import InvalidField
from .privacy import unseen

DIRECT = "direct"
INSTITUTION = "institution"
# The mainland's manuals say partner mode for what the global ones call institutional mode.
_MODES = {DIRECT: DIRECT, INSTITUTION: INSTITUTION, "partner": INSTITUTION}
HOSTS = {"global": "https://apihk.mch.weixin.qq.com", "mainland": "https://api.mch.weixin.qq.com"}


@dataclass(frozen=True, eq=False)
class Identity:
    """The merchant that signs, and what it signs and decrypts with.

    mode: ``direct``, or ``institution`` (alias ``partner``) for one that calls for sub-merchants; ``mchid``
    and ``appid`` are then the ``sp_mchid`` and ``sp_appid``. region: ``global`` or ``mainland``. private_key:
    its text, as `crypto.private_key` takes it, or a loaded key; parsed once, here. apiv3_key_previous: also tried
    on notifications, while the key is being changed. accept_language: the language of error messages. No
    key is kept as text.

    ValueError, naming the parameter, for what cannot be right. No secret shows in ``repr``, nor in an error's frames.
    """

    mode: str
    region: str
    mchid: str
    appid: str
    serial_no: str
    private_key: RSAPrivateKey = field(repr=False)
    sealing_keys: tuple[AESGCM, ...] = field(repr=False)
    accept_language: str = "en"

    @unseen
    def __init__(
        self,
        *,
        mchid: str,
        appid: str,
        serial_no: str,
        private_key: str | bytes | RSAPrivateKey,
        apiv3_key: str,
        mode: str = DIRECT,
        region: str = "global",
        apiv3_key_previous: str = "",
        accept_language: str = "en",
    ) -> None:
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}.")
        if region not in HOSTS:
            raise ValueError(f"region must be one of {', '.join(HOSTS)}.")
        fields.mchid("mchid", mchid)
        fields.appid("appid", appid, required=False)
        fields.identifier("serial_no", serial_no, 40)
        sealing = [_sealing_key("apiv3_key", apiv3_key)]
        if apiv3_key_previous:
            sealing.append(_sealing_key("apiv3_key_previous", apiv3_key_previous))
        values = {
            "mode": _MODES[mode],
            "region": region,
            "mchid": mchid,
            "appid": appid,
            "serial_no": serial_no,
            "private_key": crypto.private_key(private_key),
            "sealing_keys": tuple(sealing),
            "accept_language": accept_language,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def is_direct(self) -> bool:
        """Whether the merchant sells for itself, without sub-merchants."""
        return self.mode == DIRECT

    def numbers(self, *, sub_mchid: str = "") -> dict[str, str]:
        """Return ``mchid``, or ``sp_mchid`` and ``sub_mchid``, as most calls name the parties."""
        if self.is_direct:
            return {"mchid": self.mchid, **self.sub_number(sub_mchid)}
        return {"sp_mchid": self.mchid, **self.sub_number(sub_mchid)}

    def sub_number(self, sub_mchid: str = "") -> dict[str, str]:
        """Return ``sub_mchid`` alone, or nothing in direct mode; the signature names the caller."""
        if self.is_direct:
            return self._nothing("sub_mchid", sub_mchid)
        return {"sub_mchid": fields.mchid("sub_mchid", sub_mchid)}

    def appids(self, *, sub_appid: str = "") -> dict[str, str]:
        """Return ``appid``, or ``sp_appid`` and, when there is one, ``sub_appid``."""
        if self.is_direct:
            return {"appid": fields.appid("appid", self.appid), **self._nothing("sub_appid", sub_appid)}
        known = {"sp_appid": fields.appid("sp_appid", self.appid)}
        if fields.appid("sub_appid", sub_appid, required=False):
            known["sub_appid"] = sub_appid
        return known

    def plain_appids(self, *, sub_appid: str = "") -> dict[str, str]:
        """Return ``appid`` and, when there is one, ``sub_appid``: PayScore calls a provider's so, too."""
        known = {"appid": fields.appid("appid", self.appid)}
        if self.is_direct:
            return known | self._nothing("sub_appid", sub_appid)
        if fields.appid("sub_appid", sub_appid, required=False):
            known["sub_appid"] = sub_appid
        return known

    @staticmethod
    def _nothing(name: str, value: str) -> dict[str, str]:
        if value:
            raise InvalidField(f"{name} has no meaning in direct mode.", field=name)
        return {}


def _sealing_key(name: str, key: str) -> AESGCM:
    # The text never appears in the message: it would end in a log.
    raw = key.encode()
    if len(raw) != 32:
        raise ValueError(f"{name} must have exactly 32 bytes, not {len(raw)}.")
    return AESGCM(raw)

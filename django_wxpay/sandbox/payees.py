"""Individual payees: who authorised, who withdrew; what his mini program hands over, checked as WeChat would."""

from __future__ import annotations

import base64
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from .engine import keys
from .engine.answers import Refused, Reply, ok
from .engine.clock import rfc3339
from .engine.fields import BOTH, Field, one_of, text
from .engine.protocol import APPID, SIGNATURE_WINDOW_SECONDS, Call
from .engine.store import Row

if TYPE_CHECKING:
    from .emulator import Sandbox

AUTHORIZED, UNAUTHORIZED = "AUTHORIZED", "UNAUTHORIZED"
PERMISSION = "INDIVIDUAL_PAYEE"
PREPARED_SECONDS = 120
CODE = text(128, pattern=r"[0-9A-Za-z_\-]+")
REQUEST_SIGN = ("mchid", "appid", "package", "timeStamp", "nonceStr", "signType", "certSerialNo", "signature")
_APPID = Field("appid", APPID, BOTH, BOTH)
_SIGNS = (_APPID, Field("out_contract_code", CODE, BOTH))
_SEALED = (
    Field("real_name", text(512), BOTH),
    Field("cred_id", text(512), BOTH),
    Field("cred_type", one_of("ID_CARD"), BOTH),
)


class Payees:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    # What the merchant asks

    def query(self, call: Call, openid: str) -> Reply:
        """GET /v3/ecommerce/individual-contracts/{openid}: who never signed is UNAUTHORIZED, without a number."""
        asked = call.query(_APPID, Field("permission_type", one_of(PERMISSION), BOTH))
        self._own(call, asked)
        row = self._find(call.merchant.mchid, asked["appid"], openid)
        moment = row["operation_at"] if row else self._sandbox.clock.now()
        return ok(
            {
                "individual_auth_id": (row and row["individual_auth_id"]) or "",
                "operation_time": rfc3339(moment),
                "auth_state": row["auth_state"] if row else UNAUTHORIZED,
            }
        )

    def query_by_code(self, call: Call, out_contract_code: str) -> Reply:
        """GET …/individual-contracts/out-contract-code/{out_contract_code}: what came of an attempt."""
        asked = call.query(_APPID)
        self._own(call, asked)
        attempt = self._store.one(
            "SELECT * FROM payee_attempts WHERE mchid = ? AND out_contract_code = ?",
            call.merchant.mchid,
            out_contract_code,
        )
        if not attempt:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "no such out_contract_code")
        row = self._find(attempt["mchid"], attempt["appid"], attempt["openid"] or "")
        signed = attempt["signed_at"] and row and row["auth_state"] == AUTHORIZED
        shown: dict[str, Any] = {
            "auth_state": AUTHORIZED if signed else UNAUTHORIZED,
            "signed_time": rfc3339(attempt["signed_at"] or attempt["created_at"]),
        }
        if signed:
            assert row is not None
            shown |= {"individual_auth_id": row["individual_auth_id"], "individual_openid": attempt["openid"]}
            if attempt["real_name"]:
                expires = rfc3339(self._sandbox.clock.now() + 600)
                token = {"access_token": secrets.token_urlsafe(32), "access_token_expire_time": expires}
                shown["real_name_auth_result"] = {"scope": "pay_realname", **token}
        return ok(shown)

    def pre_sign(self, call: Call, *, client: str, checked: bool = False) -> Reply:
        """POST …/individual-contracts/pre-entrust-sign/…, or …/pre-entrust-sign-with-real-name-identity/…."""
        openid = (Field("openid", text(64), BOTH),) if client == "mini-program" else ()
        asked = call.body(*_SIGNS, *openid, *(_SEALED if checked else ()))
        self._own(call, asked)
        code = asked["out_contract_code"]
        known = "SELECT * FROM payee_attempts WHERE mchid = ? AND out_contract_code = ?"
        if self._store.one(known, call.merchant.mchid, code):
            raise Refused(400, "INVALID_REQUEST", "out_contract_code was used before")
        name = self._opened(call, asked["real_name"], "real_name") if checked else None
        if checked:
            self._opened(call, asked["cred_id"], "cred_id")
        prepared = secrets.token_urlsafe(24)
        self._store.insert(
            "payee_attempts",
            pre_entrustweb_id=prepared,
            mchid=call.merchant.mchid,
            appid=asked["appid"],
            out_contract_code=code,
            client=client,
            openid=asked.get("openid"),
            real_name=name and f"{name[:1]}…",
            created_at=self._sandbox.clock.now(),
        )
        return ok({"pre_entrustweb_id": prepared})

    # What the user does

    def requested(self, given: dict[str, Any]) -> dict[str, str]:
        """Check what ``requestSign`` was given; return whom it is about, and which form of the lines was signed.

        Refused (400) as the client's ``fail`` would be.
        """
        for name in REQUEST_SIGN:
            if not isinstance(given.get(name), str) or not given[name]:
                raise _wrong(f"{name} is missing, or no text")
        merchant = self._sandbox.merchants.get(given["mchid"])
        if merchant is None or merchant.appid != given["appid"]:
            raise _wrong("mchid and appid do not belong together")
        if given["signType"] != "RSA" or given["certSerialNo"] != self._sandbox.keys.merchant.serial:
            raise _wrong("signType must be RSA, certSerialNo the serial of the merchant's certificate")
        if len(given["nonceStr"]) > 32 or not re.fullmatch(r"[0-9]{1,11}", given["timeStamp"]):
            raise _wrong("nonceStr has at most 32 characters, timeStamp is Unix seconds")
        if abs(int(given["timeStamp"]) - self._sandbox.clock.wire_time()) > SIGNATURE_WINDOW_SECONDS:
            raise _wrong("timeStamp is more than five minutes off: the parameters are made anew for each call")
        about = self._about(given)
        return {**about, "form": self._form(given, about["openid"])}

    def agree(self, given: dict[str, Any], *, openid: str = "") -> Row:
        """Let the user agree to what ``requestSign`` was given. openid: who he is, where an app has not said."""
        with self._store.transaction():
            about = self.requested(given)
            who = about["openid"] or openid or f"o-app-{secrets.token_hex(8)}"
            if code := about["out_contract_code"]:
                now = self._sandbox.clock.now()
                where = "UPDATE payee_attempts SET openid = ?, signed_at = ? WHERE mchid = ? AND out_contract_code = ?"
                self._store.run(where, who, now, given["mchid"], code)
            return self.authorize(who, mchid=given["mchid"], form=about["form"])

    def authorize(self, openid: str, *, mchid: str = "", form: str = "") -> Row:
        """Let a person authorise, as if by the page; who is authorised keeps his number."""
        mchid, appid = self._merchant(mchid)
        known = self._find(mchid, appid, openid)
        if known and known["auth_state"] == AUTHORIZED:
            return known
        self._set(mchid, appid, openid, AUTHORIZED, f"IA{secrets.randbelow(10**16):016d}", form)
        return self.get(openid, mchid=mchid)

    def withdraw(self, openid: str, *, mchid: str = "") -> Row:
        """Let a person withdraw in WeChat. The merchant is not notified."""
        row = self.get(openid, mchid=mchid)
        if row["auth_state"] == AUTHORIZED:
            auth_id, form = row["individual_auth_id"], row["form"]
            self._set(row["mchid"], row["appid"], openid, UNAUTHORIZED, auth_id, form)
        return self.get(openid, mchid=row["mchid"])

    def get(self, openid: str, *, mchid: str = "") -> Row:
        row = self._find(*self._merchant(mchid), openid)
        if not row:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "nobody authorised under this openid")
        return row

    def is_payee(self, mchid: str, appid: str, individual_auth_id: str) -> bool:
        """Whether payments may go to who has this number."""
        row = self._store.one(
            "SELECT * FROM payees WHERE mchid = ? AND appid = ? AND individual_auth_id = ? AND auth_state = ?",
            mchid,
            appid,
            individual_auth_id,
            AUTHORIZED,
        )
        return row is not None

    # Rules

    def _own(self, call: Call, asked: dict[str, Any]) -> None:
        if asked["appid"] != call.merchant.appid:
            raise Refused(400, "APPID_MCHID_NOT_MATCH", "the appid is not bound to the merchant number")

    def _opened(self, call: Call, sealed: str, name: str) -> str:
        """The text of a sensitive field, under the key that the Wechatpay-Serial header names."""
        serial = call.headers.get("wechatpay-serial", "")
        keys_of = {row["serial"]: row["private_key"] for row in self._sandbox.certificates.all()}
        keys_of[self._sandbox.keys.public_key_id] = self._sandbox.keys.public_private_key
        if serial not in keys_of:
            raise Refused(400, "PARAM_ERROR", "Wechatpay-Serial names no key of WeChat Pay's")
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        try:
            plain = keys.load_private_key(keys_of[serial]).decrypt(base64.b64decode(sealed, validate=True), oaep)
            opened = plain.decode()
        except ValueError:
            raise Refused(400, "PARAM_ERROR", f"{name} does not decrypt under {serial}") from None
        if not 1 <= len(opened) <= 64:
            raise Refused(400, "PARAM_ERROR", f"{name} must have 1 to 64 characters")
        return opened

    def _about(self, given: dict[str, Any]) -> dict[str, str]:
        named = dict(parse_qsl(given["package"], keep_blank_values=True))
        if named.get("permissionType") != PERMISSION:
            raise _wrong(f"package must end with permissionType={PERMISSION}")
        if "preEntrustwebId" not in named:
            if not named.get("openid"):
                raise _wrong("package names neither openid nor preEntrustwebId")
            return {"openid": named["openid"], "out_contract_code": ""}
        attempt = self._store.one(
            "SELECT * FROM payee_attempts WHERE pre_entrustweb_id = ? AND out_contract_code = ? AND mchid = ?",
            named["preEntrustwebId"],
            named.get("outContractCode", ""),
            given["mchid"],
        )
        if not attempt:
            raise _wrong("preEntrustwebId and outContractCode do not belong together")
        if attempt["created_at"] + PREPARED_SECONDS < self._sandbox.clock.now():
            raise _wrong("preEntrustwebId is older than two minutes")
        return {"openid": attempt["openid"] or "", "out_contract_code": attempt["out_contract_code"]}

    def _form(self, given: dict[str, Any], openid: str) -> str:
        """Which lines were signed: A as the API's page has them, B as the guide."""
        begun = [given["appid"], given["timeStamp"], given["nonceStr"]]
        forms = {"A": [*begun, given["package"]], "B": [*begun, given["mchid"], openid]}
        certificate = self._sandbox.keys.merchant.certificate
        for name, lines in forms.items():
            message = "".join(f"{line}\n" for line in lines).encode()
            if keys.verifies(certificate, message, given["signature"]):
                return name
        raise _wrong("the signature matches neither form of the signed lines")

    def _merchant(self, mchid: str) -> tuple[str, str]:
        merchant = self._sandbox.merchants.get(mchid or self._sandbox.merchant["mainland_mchid"])
        if merchant is None:
            raise Refused(404, "RESOURCE_NOT_EXISTS", f"no merchant {mchid}")
        return merchant.mchid, merchant.appid

    def _find(self, mchid: str, appid: str, openid: str) -> Row | None:
        return self._store.one(
            "SELECT * FROM payees WHERE mchid = ? AND appid = ? AND openid = ?", mchid, appid, openid
        )

    def _set(self, mchid: str, appid: str, openid: str, state: str, auth_id: str | None, form: str | None) -> None:
        self._store.run(
            "INSERT INTO payees VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "auth_state = excluded.auth_state, individual_auth_id = excluded.individual_auth_id, "
            "operation_at = excluded.operation_at, form = excluded.form",
            mchid,
            appid,
            openid,
            state,
            auth_id,
            self._sandbox.clock.now(),
            form,
        )


def _wrong(message: str) -> Refused:
    return Refused(400, "PARAM_ERROR", message)

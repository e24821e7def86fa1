"""Individual payees: persons who let a platform's payments go to them. Mainland only; a platform has one way to ask.

Source: APIv3 manual, "Payments to individuals", /v3/ecommerce/individual-contracts.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from . import crypto, fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField
from .privacy import Unseen
from .refusals import NO_PAYEE

_ROOT = "/v3/ecommerce/individual-contracts"
PERMISSION = "INDIVIDUAL_PAYEE"
CLIENTS = {"mini_program": "mini-program", "app": "app"}
NAME_LENGTH = 64  # of the plain text
PACKAGE, FIVE_LINES = "A", "B"
SIGNED_FORMS = (PACKAGE, FIVE_LINES)


class Payees(Unseen):
    """The calls about individual payees; `client.payees`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def query(self, *, openid: str) -> Answer:
        """Return whether a person, known under our appid, is authorised as a payee.

        ``auth_state`` is AUTHORIZED or UNAUTHORIZED; NotFound, too, means that nobody is.
        """
        number = quote(fields.identifier("openid", openid, 128), safe="")
        query = {"appid": self._appid, "permission_type": PERMISSION}
        return self._client.request("GET", f"{_ROOT}/{number}", query=query, absent=NO_PAYEE)

    def query_by_code(self, *, out_contract_code: str) -> Answer:
        """Return what came of an attempt to sign, by our number of it; NotFound when there was none.

        The answer's ``real_name_auth_result`` has no ``access_token`` here: it is a secret that nothing of ours needs.
        """
        number = quote(fields.identifier("out_contract_code", out_contract_code, 128), safe="")
        path = f"{_ROOT}/out-contract-code/{number}"
        answer = self._client.request("GET", path, query={"appid": self._appid}, absent=NO_PAYEE)
        return _without_token(answer)

    def pre_sign(self, *, out_contract_code: str, client: str = "mini_program", openid: str = "") -> Answer:
        """Prepare a person's signature; the answer has ``pre_entrustweb_id``, to be used within two minutes.

        out_contract_code: a new number for each attempt, at most 128 digits, letters, ``_`` and ``-``. client:
        ``mini_program``, which wants the openid, or ``app``.
        """
        body = self._who(out_contract_code, client, openid)
        return self._client.request("POST", f"{_ROOT}/pre-entrust-sign/{CLIENTS[client]}", body=body)

    def pre_sign_with_real_name(
        self, *, out_contract_code: str, real_name: str, cred_id: str, client: str = "mini_program", openid: str = ""
    ) -> Answer:
        """Prepare a person's signature and have WeChat Pay compare name and identity card.

        real_name, cred_id: as the card has them, at most 64 characters each; they are encrypted here with WeChat Pay's
        key. RequestNotSent while none is known.
        """
        body = self._who(out_contract_code, client, openid)
        serial, sealed = self._client.encrypt_fields(
            real_name=fields.text("real_name", real_name, NAME_LENGTH, three_byte=False),
            cred_id=fields.text("cred_id", cred_id, NAME_LENGTH),
        )
        path = f"{_ROOT}/pre-entrust-sign-with-real-name-identity/{CLIENTS[client]}"
        body |= {**sealed, "cred_type": "ID_CARD"}
        return self._client.request("POST", path, body=body, wechatpay_serial=serial)

    def sign_params(
        self, *, openid: str = "", pre_entrustweb_id: str = "", out_contract_code: str = "", form: str = PACKAGE
    ) -> dict[str, str]:
        """Return what ``requestSign`` of a mini program (and the app's page) takes, signed now, for one use.

        The package names the openid, or the pre-signature with its out_contract_code. form: the signed lines. ``A`` is
        appid, time, nonce, package; ``B`` is appid, time, nonce, mchid, openid. Nothing is sent.
        """
        fields.choice("form", form, SIGNED_FORMS)
        name, number = fields.one_of(openid=openid, pre_entrustweb_id=pre_entrustweb_id)
        fields.identifier(name, number, 128)
        if name == "openid":
            package = f"openid={openid}"
        else:
            code = fields.identifier("out_contract_code", out_contract_code, 128)
            package = f"preEntrustwebId={pre_entrustweb_id}&outContractCode={code}"
        package += f"&permissionType={PERMISSION}"
        if form == FIVE_LINES and not openid:
            raise InvalidField("The lines of form B name an openid.", field="openid")
        identity = self._client.identity
        begun = {
            "appid": self._appid,
            "timeStamp": str(int(self._client.clock())),
            "nonceStr": secrets.token_hex(16),
        }
        lines = [*begun.values(), *([package] if form == PACKAGE else [identity.mchid, openid])]
        return {
            "mchid": identity.mchid,
            **begun,
            "package": package,
            "signType": "RSA",
            "certSerialNo": identity.serial_no,
            "signature": crypto.sign(identity.private_key, "".join(f"{line}\n" for line in lines).encode()),
        }

    @property
    def _appid(self) -> str:
        return fields.appid("appid", self._client.identity.appid)

    def _who(self, out_contract_code: str, client: str, openid: str) -> dict[str, Any]:
        fields.choice("client", client, CLIENTS)
        body = {
            "appid": self._appid,
            "out_contract_code": fields.identifier("out_contract_code", out_contract_code, 128),
        }
        if client == "mini_program":
            body["openid"] = fields.identifier("openid", openid, 64)
        elif openid:
            raise InvalidField("openid has no meaning in an app.", field="openid")
        return body


def _without_token(answer: Answer) -> Answer:
    data = answer.data or {}
    told = data.get("real_name_auth_result")
    if told is None:
        return answer
    kept = {name: value for name, value in told.items() if name != "access_token"} if isinstance(told, dict) else {}
    return replace(answer, data=data | {"real_name_auth_result": kept}, text="")

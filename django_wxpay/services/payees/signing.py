"""Letting a person sign: what his mini program or app needs for it, fresh each time, while he is not authorised."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlencode

from ...client import fields
from ...client.errors import InvalidField
from ...client.texts import hide
from ...engine import remote, transactions
from ...engine.numbers import new_number
from ...exceptions import NotAllowedNow
from ...models import PayeeAuthorization
from .facts import expect_signature

BUSINESS_TYPE = "liteAppC2CSignPay"  # of the app's WXOpenBusinessView
PayeeClient = Literal["mini_program", "app"]


def sign_params(payee: PayeeAuthorization) -> dict[str, str] | None:
    """What ``requestSign`` of the mini program takes, signed now, for one use; None for who is authorised.

    Nothing is sent. What the mini program is told when he comes back proves nothing: `sync`, or wait for
    `payee_authorized`; WeChat Pay will be asked for two hours. Raises InvalidField for who has no openid: `pre_sign`.

    Source: APIv3 manual, "Payments to individuals", "Mini program: sign", `WeChatPayIndividualContracts.requestSign`.
    """
    payee.refresh_from_db()
    if payee.is_authorized:
        return None
    if not payee.openid:
        raise InvalidField("He has no openid yet: prepare his signature with pre_sign.", field="openid")
    merchant = remote.merchant_of(payee)
    expect_signature(payee)
    with remote.client_of(payee) as client:
        return client.payees.sign_params(openid=payee.openid, form=merchant.options["PAYEE_SIGN_FORM"])


def pre_sign(
    payee: PayeeAuthorization, *, client: PayeeClient = "mini_program", real_name: str = "", cred_id: str = ""
) -> dict[str, str]:
    """Prepare his signature at WeChat Pay, and return what opens it: of a mini program as `sign_params`, of an app
    ``businessType`` and ``query`` of ``WXOpenBusinessView``. It must be opened within two minutes.

    real_name, cred_id: both, when WeChat Pay shall compare them with who signs; they are encrypted for this call and
    kept nowhere. Each call is an attempt under a number of its own.

    Raises InvalidField and NotAllowedNow (he is authorised; nothing was sent), APIError (refused), OutcomeUnknown,
    RequestNotSent (ask again: an attempt that nobody opens means nothing), CalledInTransaction.

    Source: APIv3 manual, "Payments to individuals", "Pre-sign",
    POST /v3/ecommerce/individual-contracts/pre-entrust-sign/mini-program.
    """
    real_name, cred_id = hide(real_name), hide(cred_id)
    transactions.refuse_inside("pre_sign outside of atomic()")
    fields.choice("client", client, ("mini_program", "app"))
    if bool(real_name) != bool(cred_id):
        raise InvalidField(
            "Give both real_name and cred_id, or neither.", field="cred_id" if real_name else "real_name"
        )
    payee.refresh_from_db()
    if payee.is_authorized:
        raise NotAllowedNow(f"Payee {payee.number} is authorised already. Nothing was sent.")
    code = new_number()
    asked = {"out_contract_code": code, "client": client, "openid": payee.openid or "" if client != "app" else ""}
    with remote.client_of(payee) as wechat:
        if real_name:
            answer = wechat.payees.pre_sign_with_real_name(**asked, real_name=real_name, cred_id=cred_id)
        else:
            answer = wechat.payees.pre_sign(**asked)
        prepared = (answer.data or {}).get("pre_entrustweb_id")
        params = wechat.payees.sign_params(
            pre_entrustweb_id=prepared if isinstance(prepared, str) else "", out_contract_code=code
        )
    PayeeAuthorization.objects.filter(pk=payee.pk).update(out_contract_code=code)
    expect_signature(payee)
    payee.refresh_from_db()
    if client == "mini_program":
        return params
    return {"businessType": BUSINESS_TYPE, "query": urlencode(params)}

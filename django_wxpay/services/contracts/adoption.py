"""Taking over contracts that another system signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError
from django.utils import timezone

from ... import conf
from ...engine import remote, transactions
from ...engine.facts import Fact, named
from ...exceptions import NotAllowedNow
from ...models import Contract, Outcome, Source
from .facts import apply_contract, query

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


def adopt(
    *,
    out_contract_code: str,
    plan_id: int,
    user: User | None = None,
    merchant: str = "default",
    sub_mchid: str | None = None,
    sub_appid: str | None = None,
    by: User | None = None,
) -> Contract:
    """Take over a contract that another system signed: query it, then keep a verified row.

    Returns the `Contract`; the known row when we have it. Receivers hear of it as of any signature: the transition's
    note is "adopted". Raises APIError (NotFound: not signed there), OutcomeUnknown, InvalidField, NotAllowedNow (it
    is not what you say: nothing is kept). Only reads from WeChat Pay.

    Source: APIv3 manual, auto-debit, "Query contract", GET /v3/global/papay/contracts/out-contract-code/{…}.
    """
    config = conf.merchant(merchant)
    sub_mchid, sub_appid = config.sub_of(sub_mchid, sub_appid)
    contract = Contract(
        merchant=config.alias, mchid=config.mchid, appid=config.appid, sub_mchid=sub_mchid, sub_appid=sub_appid,
        user=cast(Any, user), out_contract_code=out_contract_code, plan_id=plan_id,
    )  # fmt: skip
    transactions.refuse_inside("contracts.adopt outside of atomic()")
    begun_at = timezone.now()
    with remote.client_of(contract) as client:
        answer = query(client, contract)

    def work() -> Contract:
        known = named(Contract.objects.filter(mchid=config.mchid), out_contract_code=out_contract_code)
        fact = Fact.from_answer(contract, answer, source=Source.QUERY, begun_at=begun_at, user=by, note="adopted")
        if known is None:
            contract.pk = None  # this may be the second try
            contract.user_display_name = fact.words("user_display_name", 32)
            contract.save(force_insert=True)
        applied = apply_contract(fact)
        if known is None and applied.outcome != Outcome.APPLIED:
            raise NotAllowedNow(f"Contract {out_contract_code} at WeChat Pay {applied.why}: it was not adopted.")
        adopted: Contract = applied.row
        return adopted

    try:
        return transactions.run(work)
    except IntegrityError:  # somebody adopted it at this very moment
        return transactions.run(work)

"""Products declare themselves once and whole; what is missing stops the process at start, not at the first payment."""

import dataclasses

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_wxpay import conf
from django_wxpay.engine import registry
from django_wxpay.exceptions import OperationPending
from django_wxpay.models import Action, Contract, Operation, Order
from django_wxpay.services import contracts, orders
from django_wxpay.testing import make_contract, make_order
from tests.letters import write

PAPAY = "order", Order.Product.PAPAY


@pytest.fixture
def declared(monkeypatch):
    """The registry as it is, free to be changed for the length of a test."""
    for name in ("SUBJECT", "PRODUCTS", "COMMANDS"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    return registry


def test_all_that_the_models_name_is_declared(declared):
    declared.check()


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ("SUBJECT", "refund", "subject refund"),
        ("PRODUCTS", PAPAY, "product PAPAY order"),
        ("PRODUCTS", ("contract", ""), "product of contract"),
        ("COMMANDS", Action.REVERSE, "command REVERSE"),
    ],
)
def test_what_nobody_declares_is_named_at_start(declared, table, key, says):
    del getattr(declared, table)[key]
    with pytest.raises(ImproperlyConfigured, match=says):
        declared.check()


def test_a_product_that_leaves_out_a_part_cannot_be_declared(declared):
    known = declared.PRODUCTS[PAPAY]
    needed = [field.name for field in dataclasses.fields(known) if field.default is dataclasses.MISSING]
    parts = {name: getattr(known, name) for name in needed}
    for name in parts.keys() - {"subject"}:
        with pytest.raises(TypeError, match=name):
            type(known)(**{part: value for part, value in parts.items() if part != name})


@pytest.mark.parametrize(
    ("event_type", "whose"),
    [
        ("PAPAY.SIGN", ("contract", "out_contract_code")),
        ("TRANSACTION.SUCCESS", ("order", "out_trade_no")),
        ("REFUND.CLOSED", ("refund", "out_refund_no")),
        ("TRANSACTION.PAY_BACK", None),
        ("PAYSCORE.USER_OPEN_SERVICE", None),
    ],
)
def test_a_notification_finds_the_subject_that_takes_it(event_type, whose):
    found = registry.event_of(event_type, {})
    assert (found and (found[0].name, found[1].number)) == whose


def test_two_subjects_may_share_a_type_and_the_payload_decides(declared):
    single = declared.SUBJECT["order"]
    event = single.events[0]
    combined = dataclasses.replace(
        declared.SUBJECT["contract"],
        events=(event._replace(number="combine_out_trade_no", belongs=lambda payload: "combine_mchid" in payload),),
    )
    event = event._replace(belongs=lambda payload: "combine_mchid" not in payload)
    declared.SUBJECT |= {"order": dataclasses.replace(single, events=(event,)), "contract": combined}
    assert declared.event_of("TRANSACTION.SUCCESS", {})[1].number == "out_trade_no"
    assert declared.event_of("TRANSACTION.SUCCESS", {"combine_mchid": "1"})[1].number == "combine_out_trade_no"


def test_a_family_is_ours_when_a_subject_takes_one_of_its_types():
    assert {(subject.name, event.number) for subject, event in registry.family_of("TRANSACTION.PAY_BACK")} == {
        ("order", "out_trade_no"),
        ("combine_order", "combine_out_trade_no"),
    }
    assert registry.family_of("PAYSCORES.USER_OPEN_SERVICE") == registry.family_of("") == []
    assert "TRANSACTION.SUCCESS" in registry.event_types() and "TRANSACTION.PAY_BACK" not in registry.event_types()


# Regions


@pytest.fixture
def mainland(wxpay_sandbox):
    """The same merchant, of a region that has none of the products so far."""
    entry = conf.setting("MERCHANTS")["default"] | {"REGION": "mainland"}
    with override_settings(WXPAY={"MERCHANTS": {"default": entry}, "NOTIFY_URL_BASE": "https://shop.example/"}):
        yield wxpay_sandbox


@pytest.mark.django_db
def test_a_merchant_of_another_region_neither_writes_down_nor_sends(mainland):
    before = len(mainland.calls)
    with pytest.raises(ImproperlyConfigured, match="is of the region 'mainland'"):
        contracts.sign(plan_id=1, user_display_name="Li M.")
    with pytest.raises(ImproperlyConfigured, match="Nothing was sent"):
        orders.deduct(make_contract(), amount=100, currency="HKD", description="March", reference="m-1")
    with pytest.raises(ImproperlyConfigured, match="product of global"):
        orders.pay_by_code(
            auth_code="134567890123456789", amount=100, currency="HKD", description="Tea", reference="t-1"
        )  # fmt: skip
    assert len(mainland.calls) == before
    assert Operation.objects.count() == Order.objects.count() == 0
    assert Contract.objects.count() == 1  # the one that the test made


@pytest.mark.django_db
def test_a_row_of_another_region_is_not_asked_about(mainland):
    with pytest.raises(ImproperlyConfigured, match="is of the region 'mainland'"):
        contracts.sync(make_contract())


# Several rows at once


def shares(payload):
    """An invented message: what one payer pays to several merchants."""
    return [share | {"mchid": payload["mchid"], "appid": payload["appid"]} for share in payload["shares"]]


@pytest.fixture
def shared(declared):
    """Orders take an invented message that speaks of several of them."""
    known = declared.SUBJECT["order"]
    event = declared.Event("TRANSACTION.SHARED", "payer_no", parts=shares)
    declared.SUBJECT["order"] = dataclasses.replace(known, events=(*known.events, event))


def share(order, **changes):
    amount = {"total": order.amount_total, "currency": order.currency}
    return {"out_trade_no": order.out_trade_no, "trade_state": "SUCCESS", "amount": amount} | changes


def send(wxpay_sandbox, order, parts):
    payload = {"mchid": order.mchid, "appid": order.appid, "payer_no": "p-1", "shares": parts}
    return write(wxpay_sandbox, "TRANSACTION.SHARED", payload).receive()


@pytest.mark.django_db
def test_a_message_that_speaks_of_several_rows_is_applied_to_each(wxpay_sandbox, shared):
    first, second = make_order(state="CREATED"), make_order(state="CREATED")
    notification = send(wxpay_sandbox, first, [share(first), share(second)])
    assert (notification.state, notification.outcome, notification.number) == ("PROCESSED", "APPLIED", "p-1")
    assert set(Order.objects.values_list("state", flat=True)) == {"SUCCESS"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "state"), [({"out_trade_no": "nobody-knows"}, "WAITING"), ({"mchid": "1900009999"}, "REFUSED")]
)
def test_of_several_rows_the_one_that_does_not_fit_decides_and_the_others_are_true(
    wxpay_sandbox, declared, shared, change, state
):
    first, second = make_order(state="CREATED"), make_order(state="CREATED")
    wrong = share(second) | change
    known = declared.SUBJECT["order"]
    own = known.events[-1]._replace(parts=lambda payload: [one | change_of(one, payload) for one in payload["shares"]])
    declared.SUBJECT["order"] = dataclasses.replace(known, events=(*known.events[:-1], own))
    notification = send(wxpay_sandbox, first, [share(first), wrong])
    assert notification.state == state
    assert sorted(Order.objects.values_list("state", flat=True)) == ["CREATED", "SUCCESS"]


def change_of(one, payload):
    """Each part names the merchant that it is about, its own where it has one."""
    return {"mchid": one.get("mchid", payload["mchid"]), "appid": payload["appid"]}


@pytest.mark.django_db
def test_while_a_command_concerns_several_rows_none_of_them_gets_another(wxpay_sandbox, monkeypatch):
    """An invented product: the deductions of a contract are reversed together."""
    contract = wxpay_sandbox.signed_contract()
    asked = {"amount": 100, "currency": "HKD", "description": "March"}
    first, second = (orders.plan_deduction(contract, **asked, reference=str(number)) for number in range(2))
    Operation.objects.update(open_key=None, state="DONE")
    siblings = property(lambda order: list(Order.objects.exclude(pk=order.pk)))
    monkeypatch.setattr(Order, "together", siblings)
    orders.plan_reversal(first)
    with pytest.raises(OperationPending, match=f"order {first.number} has no outcome yet"):
        orders.plan_reversal(second)
    monkeypatch.undo()
    orders.plan_reversal(second)

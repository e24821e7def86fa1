"""The way in for facts, by itself: what agrees, what differs, and which moves a message may cause."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.engine.facts import Fact, Known, differences, move, named
from django_wxpay.models import Contract, Discrepancy, Order, Outcome, Refund, Source, Transition
from django_wxpay.services import orders, refunds
from django_wxpay.testing import make_contract, make_order, make_refund

pytestmark = pytest.mark.django_db
MODELS = (Contract, Order, Refund)


@pytest.fixture(autouse=True)
def merchants(wxpay_sandbox):
    """The merchants of the sandbox are in the settings."""


def fact(data, source=Source.NOTIFICATION, **known):
    return Fact(conf.merchant("default").mchid, data, source, **known)


def paid(order, **changes):
    """What a message of a paid order always carries."""
    return {
        "mchid": order.mchid,
        "appid": order.appid,
        "out_trade_no": order.out_trade_no,
        "transaction_id": order.transaction_id or "4200000000202603010000000001",
        "trade_state": "SUCCESS",
        "success_time": "2026-03-01T12:00:00+08:00",
        "amount": {"total": order.amount_total, "currency": order.currency},
    } | changes


def fresh(row):
    row.refresh_from_db()
    return row


# Reading a message


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("2026-03-01T12:10:00+08:00", True),
        ("2026-03-01T04:10:00Z", True),
        ("2026-03-01T12:10:00", False),  # without its offset it says nothing
        ("20260301121000", False),
        ("2026-13-41T99:10:00+08:00", False),
        ("", False),
        (None, False),
        (5, False),
        ({}, False),
    ],
)
def test_a_time_is_read_with_its_offset_or_not_at_all(text, there):
    moment = fact({"success_time": text}).time("success_time")
    assert (moment is not None) == there
    if moment:
        assert moment.isoformat() in ("2026-03-01T12:10:00+08:00", "2026-03-01T04:10:00+00:00")


@pytest.mark.parametrize("data", [{}, {"amount": None}, {"amount": []}, {"amount": "38.00"}, {"amount": {}}])
def test_a_path_that_leads_nowhere_is_absent(data):
    assert fact(data).get("amount.total") is None
    assert fact(data).whole("amount.total") is None
    assert fact(data).words("amount.currency", 3) == ""


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_only_an_integer_is_an_amount(value):
    assert fact({"total": value}).whole("total") is None


# Agreeing


@pytest.mark.parametrize(
    ("ours", "theirs", "always", "differs"),
    [
        ("a", "a", True, False),
        ("a", "A", False, True),
        ("a", "a ", False, True),
        ("a", None, False, False),
        ("a", None, True, True),
        (None, "a", True, False),  # what we do not know yet cannot differ
        ("", "a", True, False),
        (100, 100, True, False),
        (100, "100", True, True),
        (100, 100.0, True, True),
        (1, True, True, True),
        (100, None, True, True),
    ],
)
def test_values_agree_to_the_byte_and_the_type(ours, theirs, always, differs):
    found = differences(fact({"value": theirs}), [Known("value", ours, always)])
    assert found == ([("value", ours, theirs)] if differs else [])


@pytest.mark.parametrize("number", [None, "", 5, ["x"], {"x": 1}])
def test_what_is_no_number_names_no_row(number):
    make_order(state="NOTPAY", out_trade_no=None)
    assert named(Order.objects.all(), out_trade_no=number) is None


def test_a_number_names_its_row_to_the_byte():
    order = make_order(out_trade_no="abc")
    assert named(Order.objects.all(), out_trade_no="abc") == order
    for other in ("ABC", "abc ", "abç"):
        assert named(Order.objects.all(), out_trade_no=other) is None


# Moving


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_table_of_moves_names_every_state_and_only_states(model):
    states = set(model.State.values)
    assert set(model.MOVES) == states
    assert set().union(*model.MOVES.values()) <= states
    assert model.FINAL <= states and model.OURS <= states
    assert all(state not in following for state, following in model.MOVES.items())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_move_leads_from_a_final_state_to_an_open_one(model):
    for state in model.FINAL:
        assert model.MOVES[state] <= model.FINAL


def test_paid_money_is_never_forgotten_by_a_move():
    for state in Order.PAID:
        assert Order.MOVES[state] <= Order.PAID | {"REVOKED"}


@pytest.mark.scenario("S05")
@pytest.mark.parametrize(
    ("state", "payload", "outcome", "after"),
    [
        ("CREATED", "SUCCESS", "APPLIED", "SUCCESS"),
        ("CREATED", "USERPAYING", "APPLIED", "USERPAYING"),
        ("USERPAYING", "NOTPAY", "APPLIED", "NOTPAY"),
        ("SUCCESS", "SUCCESS", "SAME", "SUCCESS"),
        ("SUCCESS", "REFUND", "APPLIED", "REFUND"),
        ("SUCCESS", "REVOKED", "APPLIED", "REVOKED"),
        ("REFUND", "SUCCESS", "STALE", "REFUND"),
        ("SUCCESS", "NOTPAY", "STALE", "SUCCESS"),
        ("SUCCESS", "CLOSED", "STALE", "SUCCESS"),
        ("CLOSED", "SUCCESS", "STALE", "CLOSED"),
        ("REVOKED", "SUCCESS", "STALE", "REVOKED"),
        ("REFUSED", "SUCCESS", "STALE", "REFUSED"),
    ],
)
def test_a_notification_moves_an_order_along_the_table(state, payload, outcome, after):
    order = make_order(state=state)
    applied = orders.apply_order(fact(paid(order, trade_state=payload)))
    assert (applied.outcome, fresh(order).state) == (outcome, after)
    assert Transition.objects.count() == (outcome == "APPLIED")
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S05")
@pytest.mark.parametrize(
    ("state", "payload", "overruled"),
    [
        ("CLOSED", "SUCCESS", True),
        ("REFUSED", "SUCCESS", True),
        ("REVOKED", "REFUND", True),
        ("REFUND", "SUCCESS", False),
    ],
)
def test_only_a_query_begun_after_a_final_state_may_overrule_it_and_people_are_told(state, payload, overruled):
    order = make_order(state=state)
    data = paid(order, trade_state=payload)
    for source, begun_at in (
        (Source.NOTIFICATION, None),
        (Source.ANSWER, None),
        (Source.QUERY, order.state_at - timedelta(seconds=1)),
    ):
        assert orders.apply_order(fact(data, source, begun_at=begun_at)).outcome == Outcome.STALE
        assert fresh(order).state == state
    if overruled:
        assert order.next_poll_at <= timezone.now()
    orders.apply_order(fact(data, Source.QUERY, begun_at=timezone.now()))
    assert fresh(order).state == (payload if overruled else state)
    assert [one.kind for one in Discrepancy.objects.all()] == (["OVERRULED"] if overruled else [])


@pytest.mark.parametrize("payload", ["REFUSED", "CREATED", "FROZEN", ""])
def test_a_word_that_is_ours_or_new_is_told_to_people_and_moves_nothing(payload):
    order = make_order(state="NOTPAY")
    applied = orders.apply_order(fact(paid(order, trade_state=payload)))
    assert (applied.outcome, fresh(order).state) == (Outcome.REFUSED, "NOTPAY")
    assert Discrepancy.objects.get().kind == "UNKNOWN_STATE"


def test_an_expired_contract_is_our_word_that_no_message_brings():
    contract = make_contract(state="PENDING")
    applied = move(contract, "EXPIRED", fact({"state": "EXPIRED"}, Source.QUERY, begun_at=timezone.now()), {})
    assert (applied.outcome, fresh(contract).state) == (Outcome.REFUSED, "PENDING")
    move(contract, "EXPIRED", fact({}, Source.CLOCK), {})
    assert fresh(contract).state == "EXPIRED"


def test_what_was_known_is_not_overwritten_and_what_was_not_is_learned():
    order = make_order(bank_type="", trade_type="AUTH")
    before = order.transaction_id
    orders.apply_order(fact(paid(order, bank_type="OTHERS", trade_type="NATIVE")))
    assert (fresh(order).bank_type, order.trade_type, order.transaction_id) == ("OTHERS", "AUTH", before)


def test_a_query_that_is_refused_is_not_asked_again_every_minute():
    order = make_order(state="NOTPAY", created_at=timezone.now() - timedelta(hours=4), next_poll_at=timezone.now())
    for data in (paid(order, appid="wx0"), paid(order, trade_state="FROZEN")):
        applied = orders.apply_order(fact(data, Source.QUERY, begun_at=timezone.now()))
        assert applied.outcome == Outcome.REFUSED
        assert fresh(order).next_poll_at > timezone.now() + timedelta(hours=1)
    final = make_order(next_poll_at=timezone.now())
    orders.apply_order(fact(paid(final, appid="wx0"), Source.QUERY, begun_at=timezone.now()))
    assert fresh(final).next_poll_at is None


def test_the_evidence_of_a_move_is_the_verified_text():
    order = make_order(state="CREATED")
    orders.apply_order(fact(paid(order, trade_state_desc="paid by card"), text='{"as": "sent"}'))
    transition = Transition.objects.get()
    assert (transition.evidence, transition.note, transition.source) == (
        '{"as": "sent"}',
        "paid by card",
        "NOTIFICATION",
    )
    assert (transition.from_state, transition.to_state) == ("CREATED", "SUCCESS")


def test_a_row_that_moved_between_its_lock_and_its_update_is_not_moved_again():
    order = make_order(state="CREATED")
    stale = Order.objects.get(pk=order.pk)
    Order.objects.filter(pk=order.pk).update(state="CLOSED")
    with pytest.raises(RuntimeError, match="left CREATED"):
        move(stale, "SUCCESS", fact(paid(order)), {})
    assert fresh(order).state == "CLOSED"
    assert not Transition.objects.exists()


# Refunds and their order


def refunded(refund, **changes):
    order = refund.order
    return {
        "mchid": order.mchid,
        "transaction_id": order.transaction_id,
        "out_trade_no": order.out_trade_no,
        "refund_id": refund.refund_id or "50300000002026030100000000001",
        "out_refund_no": refund.out_refund_no,
        "refund_status": "SUCCESS",
        "amount": {"refund": refund.amount, "total": order.amount_total, "currency": refund.currency},
    } | changes


@pytest.mark.parametrize(
    ("status", "state", "refundable"),
    [
        ("SUCCESS", "SUCCESS", 2800),
        ("CLOSED", "CLOSED", 3800),
        ("REFUNDCLOSE", "CLOSED", 3800),
        ("CLOSE", "CLOSED", 3800),
        ("ABNORMAL", "ABNORMAL", 2800),
        ("PROCESSING", "PROCESSING", 2800),
        ("CHANGE", "PROCESSING", 2800),  # unknown: a person is told
    ],
)
def test_each_end_of_a_refund_gives_back_what_it_must(status, state, refundable):
    refund = make_refund(amount=1000)
    refunds.apply_refund(fact(refunded(refund, refund_status=status)))
    assert fresh(refund).state == state
    assert fresh(refund.order).refundable_amount == refundable
    kinds = {"ABNORMAL": ["ABNORMAL"], "CHANGE": ["UNKNOWN_STATE"]}
    assert [one.kind for one in Discrepancy.objects.all()] == kinds.get(status, [])


def test_a_refund_that_is_told_twice_gives_back_once():
    refund = make_refund(amount=1000)
    for _ in range(3):
        refunds.apply_refund(fact(refunded(refund, refund_status="CLOSED")))
    assert fresh(refund.order).refundable_amount == 3800


def test_a_closed_refund_that_a_query_finds_paid_takes_the_money_out_again():
    refund = make_refund(amount=1000)
    refunds.apply_refund(fact(refunded(refund, refund_status="CLOSED")))
    refunds.apply_refund(fact(refunded(refund), Source.QUERY, begun_at=timezone.now()))
    assert fresh(refund).state == "SUCCESS"
    assert fresh(refund.order).refundable_amount == 2800
    assert Discrepancy.objects.get().kind == "OVERRULED"


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("state", ["CREATED", "NOTPAY", "USERPAYING"])
def test_a_refunds_success_proves_that_its_order_was_paid(state):
    order = make_order(state=state)
    foreign = SimpleNamespace(order=order, refund_id="503", out_refund_no="x", amount=500, currency=order.currency)
    applied = refunds.apply_refund(fact(refunded(foreign, transaction_id="4200")))
    assert applied.outcome == Outcome.APPLIED
    assert (fresh(order).state, order.refundable_amount) == ("REFUND", 3300)
    assert order.next_poll_at <= timezone.now()  # what we lack of the payment, a query tells


@pytest.mark.parametrize("state", ["CLOSED", "REVOKED", "REFUSED"])
def test_a_refund_of_an_order_that_counts_as_dead_has_it_asked_about_and_the_query_decides(state):
    order = make_order(state=state, transaction_id=None)
    foreign = SimpleNamespace(order=order, refund_id="503", out_refund_no="x", amount=500, currency=order.currency)
    assert refunds.apply_refund(fact(refunded(foreign, transaction_id="4200"))).outcome == Outcome.APPLIED
    assert fresh(order).state == state
    assert order.next_poll_at <= timezone.now()
    payload = paid(order, trade_state="REFUND")
    orders.apply_order(fact(payload, Source.QUERY, begun_at=timezone.now()))
    assert (fresh(order).state, order.refundable_amount) == ("REFUND", 3300)
    assert Discrepancy.objects.get().kind == "OVERRULED"


def test_a_foreign_refund_that_somebody_adopted_at_this_very_moment_is_adopted_once():
    order = make_order()
    foreign = SimpleNamespace(order=order, refund_id="503", out_refund_no="x", amount=500, currency=order.currency)
    payload = fact(refunded(foreign))

    def meanwhile(execute, sql, params, many, context):
        """While we wait for the order's lock, another message about the refund is committed."""
        if not Refund.objects.exists() and "django_wxpay_order" in sql:
            make_refund(order=order, state="SUCCESS", amount=500, out_refund_no="x", refund_id="503", foreign=True)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(once(meanwhile)):
        assert refunds.apply_refund(payload).outcome == Outcome.SAME
    assert Refund.objects.count() == 1
    assert fresh(order).refundable_amount == 3300


def once(wrapper):
    """A wrapper that is not called for the statements it makes itself."""
    busy = []

    def guarded(execute, sql, params, many, context):
        if busy:
            return execute(sql, params, many, context)
        busy.append(True)
        try:
            return wrapper(execute, sql, params, many, context)
        finally:
            busy.clear()

    return guarded


@pytest.mark.parametrize("amount", [0, -1, 1.5, "100", True, None])
def test_a_foreign_refund_of_no_proper_amount_is_not_adopted(amount):
    order = make_order()
    foreign = SimpleNamespace(order=order, refund_id="503", out_refund_no="x", amount=amount, currency=order.currency)
    assert refunds.apply_refund(fact(refunded(foreign))).outcome == Outcome.REFUSED
    assert not Refund.objects.exists()
    assert Discrepancy.objects.get().about == "order"


def test_a_foreign_refund_without_any_number_is_not_adopted():
    order = make_order()
    data = refunded(SimpleNamespace(order=order, refund_id=None, out_refund_no=None, amount=5, currency=order.currency))
    data["refund_id"] = None
    assert refunds.apply_refund(fact(data)).outcome == Outcome.REFUSED
    assert not Refund.objects.exists()


@pytest.mark.parametrize("field", ["out_trade_no", "transaction_id"])
def test_a_refund_message_that_names_another_order_is_refused(field):
    refund = make_refund()
    other = make_order()
    data = refunded(refund, **{field: getattr(other, field)})
    assert refunds.apply_refund(fact(data)).outcome == Outcome.REFUSED
    assert fresh(refund).state == "PROCESSING"
    assert fresh(other).state == "SUCCESS"


def test_a_message_of_another_signing_merchant_finds_no_row():
    order = make_order(state="CREATED")
    theirs = Fact(conf.merchant("institution").mchid, paid(order), Source.NOTIFICATION)
    assert orders.apply_order(theirs).outcome == Outcome.UNKNOWN_ROW
    assert fresh(order).state == "CREATED"

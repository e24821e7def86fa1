"""What tasks, dashboard and lists ask of tables that grow for ever is served by an index.

The plans of what really ran are looked at, with rows enough that an index is worth its while: PostgreSQL counts the
rows that a statement reads; SQLite says whether it searches or scans.
"""

import json
import re
from datetime import datetime, timedelta
from datetime import timezone as tz
from io import StringIO
from pathlib import Path

import pytest
import time_machine
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

import django_wxpay
from django_wxpay import conf, tasks
from django_wxpay.admin import dashboard
from django_wxpay.admin.filters import AboutFilter
from django_wxpay.engine import operations, timeline
from django_wxpay.models import (
    Bill,
    CombineOrder,
    Contract,
    Discrepancy,
    Notification,
    Operation,
    Order,
    PayeeAuthorization,
    Refund,
    ServiceOrder,
    Settlement,
    SignPlan,
    SignPlanDetail,
    Transition,
)
from django_wxpay.sandbox.special import COLLECTION_AMOUNTS
from django_wxpay.services import (
    attention,
    bills,
    combine_orders,
    contracts,
    orders,
    payees,
    payscore,
    refunds,
    service_orders,
    settlements,
    sign_plans,
)
from django_wxpay.testing import (
    make_contract,
    make_order,
    make_payee,
    make_payscore_plan,
    make_refund,
    make_service_order,
    make_sign_plan,
)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor == "mysql", reason="MariaDB's plans read otherwise"),
]
ROWS = 1000
MANY = 600  # no page or batch is so large: whoever reads more of a table's rows reads all that there are
AFTERNOON_IN_CHINA = datetime(2026, 3, 20, 8, tzinfo=tz.utc)
GROWING = (
    Bill, CombineOrder, Contract, Discrepancy, Notification, Operation, Order, PayeeAuthorization, Refund, ServiceOrder,
    Settlement, SignPlan, SignPlanDetail, Transition,
)  # fmt: skip
TABLES = {model._meta.db_table for model in GROWING}


@pytest.fixture
def long_history(wxpay_sandbox, settings, tmp_path):
    """Years of a merchant's rows of all kinds; all are ended."""
    settings.MEDIA_ROOT = tmp_path
    with time_machine.travel(AFTERNOON_IN_CHINA, tick=False):
        mchid = conf.merchant("institution").mchid
        contract = make_contract(merchant="institution", mchid=mchid, state="TERMINATED")
        order = make_order(merchant="institution", mchid=mchid, contract=contract, close_after=None)
        refund = make_refund(order=order, state="SUCCESS")
        signed = _copies(contract, "out_contract_code", "contract_id")
        paid = _copies(order, "out_trade_no", "transaction_id", contract_id=signed)
        _copies(refund, "out_refund_no", "refund_id", order_id=paid)
        _courses()
        _copies(make_payee(state="UNAUTHORIZED"), "payee_no", "openid", "individual_auth_id")
        long_ago = wxpay_sandbox.pay_combined(wxpay_sandbox.combined(100))
        _copies(long_ago, "combine_out_trade_no", "combine_transaction_id", next_poll_at=[None] * ROWS)
        CombineOrder.objects.filter(pk=long_ago.pk).update(next_poll_at=None, recheck_after=None)
        about = {"merchant": "institution", "object_id": order.pk}
        _copies(Operation(**about, mchid=mchid, subject="order", action="DEDUCT", state="DONE"))
        _copies(Discrepancy(**about, kind="MISMATCH", about="order", state="RESOLVED"))
        _copies(
            Transition(**about, subject="order", to_state="SUCCESS", source="ANSWER", deliver_after=None),
            delivered_at=[timezone.now() - timedelta(minutes=number) for number in range(ROWS)],
        )
        _copies(
            Notification(
                merchant="institution", mchid=mchid, event_type="TRANSACTION.SUCCESS", subject="order", body=b"",
                state="PROCESSED",
            ),
            "event_id", "number",
        )  # fmt: skip
        today = bills.china_today()
        Bill.objects.bulk_create(
            Bill(
                merchant="institution", mchid=mchid, sub_mchid=str(number), bill_date=today - timedelta(days=number),
                state="DOWNLOADED",
            )
            for number in range(ROWS)
        )  # fmt: skip
        Settlement.objects.bulk_create(
            Settlement(
                merchant="institution", mchid=mchid, key=str(number), state="SETTLED", currency="HKD",
                trade_start_date=today - timedelta(days=number), trade_end_date=today - timedelta(days=number),
            )
            for number in range(ROWS)
        )  # fmt: skip
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
        yield wxpay_sandbox


def _courses():
    """Sign plans whose services were all used."""
    sign_plan = make_sign_plan(state="COMPLETE")
    service_order = make_service_order(sign_plan=sign_plan, state="DONE")
    plans = _copies(sign_plan, "merchant_sign_plan_no", "sign_plan_id")
    details = SignPlanDetail.objects.bulk_create(
        SignPlanDetail(
            sign_plan_id=plan, mchid=sign_plan.mchid, plan_detail_no=1, merchant_plan_detail_no=f"copy{plan}",
            original_price=1, actual_price=1, state="USED",
        )
        for plan in plans
    )  # fmt: skip
    _copies(service_order, "out_order_no", "order_id", sign_plan_id=plans, detail_id=[detail.pk for detail in details])


def _copies(row, *unique, **values):
    """Rows like this one, six hours apart, from a year ago back: all are old. Returns their keys.

    values: of a field, one for each row.
    """
    model = type(row)
    known = {field.attname: getattr(row, field.attname) for field in model._meta.concrete_fields}
    del known["id"]
    made = []
    for number in range(ROWS):
        at = timezone.now() - timedelta(days=365, hours=6 * number)
        own = {name: f"copy{number}" for name in (*unique, "reference") if name in known}
        own |= {name: at for name in ("created_at", "received_at", "success_time", "state_at") if name in known}
        if "object_id" in known:
            own["object_id"] = 10**6 + number
        made.append(model(**known | own | {name: one[number] for name, one in values.items()}))
    return [one.pk for one in model.objects.bulk_create(made)]


@pytest.fixture
def at_work(long_history):
    """Beside the history one row of each kind for each task to work on."""
    past = timezone.now() - timedelta(hours=2)
    late = {"created_at": past, "state_at": past, "next_poll_at": past}
    make_contract(state="PENDING", **late)
    make_order(state="NOTPAY", close_after=past, **late)
    unpaid = make_order(state="NOTPAY")
    paid = long_history.paid_order()
    make_refund(order=paid, state="ABNORMAL", **late)
    refunds.plan_refund(paid, amount=1, reference="planned", reason="")
    orders.plan_reversal(unpaid)
    make_payee(**late)
    basket = long_history.combined(100, 200)
    CombineOrder.objects.filter(pk=basket.pk).update(**late, close_after=past)
    make_payscore_plan(state="PLANNED", **late)
    make_sign_plan(state="UNSIGNED", **late)
    sign_plans.plan_signing(long_history.plan(), openid="o-synthetic-0001", reference="planned")
    make_service_order(state_description="MCH_COMPLETE", **late)
    common = {"merchant": paid.merchant, "mchid": paid.mchid}
    Operation.objects.create(
        **common, subject="order", object_id=paid.pk, action="DEDUCT", state="UNKNOWN", open_key="doubt",
        created_at=past, next_try_at=past,
    )  # fmt: skip
    for state in ("FAILED", "WAITING", "UNHANDLED"):
        Notification.objects.create(
            **common, event_id=state, event_type="REFUND.SUCCESS", state=state, body=b"{}", next_try_at=past
        )
    Transition.objects.create(
        merchant=paid.merchant, subject="order", object_id=paid.pk, to_state="SUCCESS", source="ANSWER",
        deliver_after=None, delivery_attempts=10,
    )  # fmt: skip
    return paid


# What a statement reads


def statements(work):
    """What `work` asks of tables that grow."""
    with CaptureQueriesContext(connection) as queries:
        work()
    found = [query["sql"] for query in queries if re.match(r"SELECT|UPDATE|DELETE", query["sql"])]
    return [sql for sql in found if any(f'"{table}"' in sql for table in TABLES)]


def plan_of(sql):
    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{word} {sql}")
        return "\n".join(str(line[-1]) for line in cursor.fetchall())


def unserved(asked):
    """Those of the statements, with their plans, that read more of a growing table than they need."""
    return [f"{sql}\n{plan_of(sql)}" for sql in asked if not _is_total(sql) and _reads_all(sql)]


def _is_total(sql):
    """A list counts all its rows for its pages, that of settlements sums them up: no index spares that."""
    return " WHERE " not in sql and re.match(r'SELECT COUNT\(\*\) AS "__count" FROM|SELECT .*SUM\(.* GROUP BY', sql)


def _reads_all(sql):
    return _scans_sqlite(sql) if connection.vendor == "sqlite" else _rows_read(sql) > MANY


def _scans_sqlite(sql):
    """A scan is a page read in the order of the table, or of an index, at best: where nothing is left out."""
    if " WHERE " not in sql and " LIMIT " in sql:
        return False
    real = {alias: table for table, alias in re.findall(r'"(\w+)" (?:AS )?"?([A-Z]\d+)"?', sql)}
    scanned = re.findall(r"^SCAN (\w+)", plan_of(sql), re.M)
    return bool({real.get(name, name) for name in scanned} & TABLES)


def _rows_read(sql):
    """How many rows of growing tables PostgreSQL looks at, the ones that it leaves out among them."""
    with transaction.atomic(), connection.cursor() as cursor:
        for way in ("seqscan", "hashjoin", "mergejoin"):  # a thousand rows are soon read, ten millions are not
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        plan = cursor.fetchone()[0]
        transaction.set_rollback(True)
    (root,) = json.loads(plan) if isinstance(plan, str) else plan
    return sum(_rows_of(root["Plan"]))


def _rows_of(node):
    if node.get("Relation Name") in TABLES and node["Node Type"] != "ModifyTable":
        left_out = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
        yield (node["Actual Rows"] + left_out) * node["Actual Loops"]
    for part in node.get("Plans", ()):
        yield from _rows_of(part)


def served(*works):
    """Run each; the reports of those that read too much, by name."""
    return {name: found for name, work in works if (found := unserved(statements(work)))}


# Tasks


def test_no_task_reads_a_whole_table(at_work):
    asked = []

    def run(name):
        asked.extend(statements(lambda: getattr(tasks, name)(hinted=True)))

    assert served(*((name, lambda name=name: run(name)) for name in tasks.__all__ if name != "BEAT_SCHEDULE")) == {}
    assert {table for table in TABLES for sql in asked if f'"{table}"' in sql} == TABLES  # each had its work


# Pages


@pytest.fixture
def boss(db):
    user = get_user_model().objects.create_superuser("bo", password="-")
    browser = Client()
    browser.force_login(user)

    def get(model, query=""):
        answer = browser.get(f"/admin/django_wxpay/{model}/?{query}")
        assert answer.status_code == 200
        return answer

    get.user = user
    return get


def test_pages_for_staff_read_what_they_show(at_work, boss):
    works = [("dashboard", lambda: boss("discrepancy/dashboard")), ("timeline", lambda: timeline.of(at_work))]
    for subject in dashboard.SUBJECTS:
        find, name = subject.find, subject.find().model._meta.model_name
        works += [
            (find.__name__, lambda find=find: find().count()),
            (f"{name} {subject.query}", _list(boss, name, subject.query)),
        ]
    for model in (shown for shown in GROWING if shown is not SignPlanDetail):
        name, oldest = model._meta.model_name, model.objects.order_by("pk").first()
        works += [(name, _list(boss, name)), (f"a {name}", _list(boss, f"{name}/{oldest.pk}/change"))]
        for state in {*model.State.values} - {oldest.state} if model is not Transition else ():
            works.append((f"{name} {state}", _list(boss, name, f"state__exact={state}")))
    month = timezone.now() - timedelta(days=380)  # some of the history, far from its end
    works += [
        (f"{name} of a month", _list(boss, name, f"month={month:%Y-%m}")) for name in ("contract", "order", "refund")
    ]
    bad = served(*works)
    assert bad == {}, "\n".join(f"{name}: {one}" for name in bad for one in bad[name])


def _list(boss, *asked):
    return lambda: boss(*asked)


def test_what_is_asked_of_one_row_reads_what_is_its_own(at_work, long_history, boss):
    sandbox = long_history
    contract, order = at_work.contract, at_work
    customer = APIClient()
    customer.force_authenticate(boss.user)
    own = make_contract(user=boss.user)

    def listed():
        assert customer.get("/wxpay/contracts/").json()["results"][0]["out_contract_code"] == own.out_contract_code

    def sync(name, number):
        return lambda: call_command("wxpay_sync", name, number, stdout=StringIO())

    charge = {"amount": 1, "currency": "HKD", "description": "November", "reference": "one more"}

    def seller():
        payee = payees.enrol(openid="o-seller", user=boss.user, merchant="mainland")
        payees.sign_params(payees.sync(payee))
        assert customer.get("/wxpay/payees/").json()["results"][0]["payee_no"] == payee.payee_no

    def buyer():
        basket = sandbox.combined(100, 200, user=boss.user)
        combine_orders.payment_params(basket)
        paid = combine_orders.sync(sandbox.pay_combined(basket))
        refunds.plan_refund(paid.orders.first(), amount=1, reference="torn", reason="")
        assert customer.get("/wxpay/combine-orders/").json()["results"][0]["state"] == "SUCCESS"
        boss(f"payeeauthorization/{paid.orders.first().payee_id}/change")
        combine_orders.close(sandbox.combined(100))

    assert served(
        ("a seller", seller),
        ("a buyer", buyer),
        ("deduct", lambda: orders.deduct(contract, **charge)),
        ("refund", lambda: refunds.plan_refund(order, amount=2, reference="another", reason="")),
        ("terminate", lambda: contracts.terminate(contract)),
        ("asked before", lambda: operations.asked_before(order, "REFUND", "x")),
        ("a customer's contracts", listed),
        ("sync an order", sync("order", order.out_trade_no)),
        ("sync a contract", sync("contract", contract.out_contract_code)),
    ) == {}  # fmt: skip


def test_what_is_asked_of_one_course_reads_what_is_its_own(at_work, long_history, boss):
    sandbox, never_paid = long_history, COLLECTION_AMOUNTS + 2
    details = [payscore.Detail(f"Lesson {place}", never_paid, never_paid) for place in range(4)]
    signed = sandbox.signed_plan(sandbox.plan(details=details), user=boss.user)
    unsigned = sign_plans.sign(signed.plan, openid="o-other", reference="course")
    SignPlan.objects.filter(pk=unsigned.pk).update(package_expires=timezone.now() - timedelta(hours=1))
    customer = APIClient()
    customer.force_authenticate(boss.user)

    def listed(name):
        return lambda: customer.get(f"/wxpay/{name}/").json()["results"][0]["merchant_sign_plan_no"]

    def lesson(name):
        return service_orders.start(signed, reference=name)

    def over(what):
        return lambda: what(service_orders.complete(lesson(what.__name__)))

    def paid_on_the_phone(order):
        refunds.plan_refund(sandbox.pay_service(order).orders.get(), amount=1, reference="one", reason="")

    def reported(order):
        service_orders.sync(service_orders.report_paid(order, paid_time=timezone.now()))

    def lowered(order):
        service_orders.modify(service_orders.collect(order), payments=[service_orders.Item("Less", 1)], reason="rain")
        sandbox.pay_service(order)

    assert served(
        ("a customer's sign plans", listed("sign-plans")),
        ("signed again", lambda: sign_plans.sign(signed.plan, openid="o-other", reference="course")),
        ("renewed", lambda: sandbox.sign_plan(sign_plans.renew(unsigned))),
        ("paid", over(paid_on_the_phone)),
        ("reported", over(reported)),
        ("lowered", over(lowered)),
        ("cancelled", lambda: service_orders.cancel(lesson("last"), reason="rain")),
        ("a customer's service orders", listed("service-orders")),
        ("plan cancelled", lambda: sign_plans.sync(signed)),
    ) == {}  # fmt: skip
    assert sorted(signed.service_orders.values_list("state", flat=True)) == ["DONE", "DONE", "DONE", "REVOKED"]


# The books


def test_the_books_are_kept_and_shown_without_reading_whole_tables(long_history):
    def work():
        bills.download_due()
        settlements.fetch_due()
        attention.missing_bills().count()
        list(Bill.objects.all()[:50])
        list(Bill.objects.filter(state="FAILED")[:50])
        list(Settlement.objects.all()[:50])

    asked = statements(work)
    assert unserved(asked) == []
    books = (Bill, Order, Refund, Settlement)
    assert all(any(f'"{model._meta.db_table}"' in sql for sql in asked) for model in books)
    found = [(sql, plan_of(sql)) for sql in asked]
    assert any("wxpay_bill_state" in plan for _, plan in found)
    for model in (Order, Refund):  # whether that day had business
        mine = [plan for sql, plan in found if f'FROM "{model._meta.db_table}"' in sql]
        assert any(f"wxpay_{model.subject}_success" in plan for plan in mine)


# Nothing is kept in order for nobody


def test_no_index_is_the_beginning_of_another():
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_app_config("django_wxpay").get_models():
            known = connection.introspection.get_constraints(cursor, model._meta.db_table)
            indexes = {name: one["columns"] for name, one in known.items() if one["index"] or one["unique"]}
            seldom = model not in GROWING  # a second index for LIKE, of a unique text, costs nobody anything there
            kept = {name: columns for name, columns in indexes.items() if not (seldom and name.endswith("_like"))}
            for name, columns in kept.items():
                longer = [other for other in kept if other != name and kept[other][: len(columns)] == columns]
                found += [(name, other) for other in longer]
    assert found == []


def test_whatever_a_discrepancy_is_about_its_list_is_filtered_by():
    source = "".join(path.read_text() for path in Path(django_wxpay.__file__).parent.rglob("*.py"))
    assert set(re.findall(r"""\babout=["'](\w+)["']""", source)) <= AboutFilter.subjects.keys()

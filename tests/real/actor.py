"""Another process of the shop: `python -m tests.real.actor '[action, {arguments}, [defences], "point"]'`.

It does one thing and prints what came of it as JSON. With a point such as "operations._claim:after" it kills itself
there with signal 9, as a machine that loses its power does.
"""

import base64
import functools
import importlib
import importlib.util
import json
import os
import signal
import sys
import time

import django
from django.conf import settings


def deduct(contract, reference, amount=3800):
    from django_wxpay.models import Contract
    from django_wxpay.services import orders

    contract = Contract.objects.get(pk=contract)
    order = orders.deduct(contract, amount=amount, currency="HKD", description="March", reference=reference)
    return {"out_trade_no": order.out_trade_no, "state": order.state}


def scan(auth_code, reference, amount=3800):
    from django_wxpay.services import orders

    asked = {"amount": amount, "currency": "HKD", "description": "Coffee", "reference": reference}
    order = orders.pay_by_code(auth_code=auth_code, **asked)
    return {"out_trade_no": order.out_trade_no, "state": order.state}


def advance_till(order):
    from django_wxpay.models import Order
    from django_wxpay.services import orders

    return {"state": orders.advance_till(Order.objects.get(pk=order)).state}


def poll_orders():
    from django_wxpay.services import orders

    return orders.poll()


def refund(order, reference, amount):
    from django_wxpay.models import Order
    from django_wxpay.services import refunds

    made = refunds.create(Order.objects.get(pk=order), amount=amount, reference=reference)
    return {"out_refund_no": made.out_refund_no, "state": made.state}


def download(day):
    """Fetch a statement and read it; tells the most memory that this process ever needed."""
    from datetime import date
    from pathlib import Path

    from django_wxpay.services import bills

    bill = bills.download_statement(date.fromisoformat(day), again=True)
    read = sum(row.amount_total > 0 for row in bills.rows(bill)) if bill.has_file else 0
    peak_kib = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    return {"state": bill.state, "error": bill.error, "size": bill.size, "read": read, "peak_kib": peak_kib}


def sign(**asked):
    from django_wxpay.services import contracts

    return {"out_contract_code": contracts.sign(**asked).out_contract_code}


def terminate(contract):
    from django_wxpay.models import Contract
    from django_wxpay.services import contracts

    return {"state": contracts.terminate(Contract.objects.get(pk=contract)).state}


def sign_plan(plan, reference):
    from django_wxpay.models import PayscorePlan
    from django_wxpay.services import sign_plans

    made = sign_plans.sign(PayscorePlan.objects.get(pk=plan), openid="o-killed", reference=reference)
    return {"number": made.number, "state": made.state}


def start_service(sign_plan, reference):
    from django_wxpay.models import SignPlan
    from django_wxpay.services import service_orders

    made = service_orders.start(SignPlan.objects.get(pk=sign_plan), reference=reference)
    return {"number": made.number, "state": made.state}


def on_service(order, does):
    """complete, cancel or report_paid."""
    from django.utils import timezone

    from django_wxpay.models import ServiceOrder
    from django_wxpay.services import service_orders

    asked = {"cancel": {"reason": "rain"}, "report_paid": {"paid_time": timezone.now()}}.get(does, {})
    return {"state": getattr(service_orders, does)(ServiceOrder.objects.get(pk=order), **asked).state}


def place_combined(payees, reference):
    from django_wxpay.models import PayeeAuthorization
    from django_wxpay.services import combine_orders

    parts = [
        combine_orders.Part(PayeeAuthorization.objects.get(pk=payee), 500 + place, "Book")
        for place, payee in enumerate(payees)
    ]
    made = combine_orders.place(parts=parts, openid="o-payer", reference=reference, merchant="mainland")
    return {"number": made.number, "state": made.state}


def close_combined(order):
    from django_wxpay.models import CombineOrder
    from django_wxpay.services import combine_orders

    return {"state": combine_orders.close(CombineOrder.objects.get(pk=order)).state}


def poll_service_orders():
    from django_wxpay.services import service_orders

    return service_orders.poll()


def send_due():
    from django_wxpay.engine import operations

    return operations.send_due()


def receive(headers, body, merchant="default"):
    from django_wxpay.services import notifications

    return notifications.receive(merchant, headers, base64.b64decode(body)).state


def deliver_due(diary, sleeps=0):
    """Deliver to a receiver that writes into the database and into a file, and then takes its time."""
    from django_wxpay import signals
    from django_wxpay.engine import transitions

    def receiver(sender, transition, **kwargs):
        write_into_database(transition)
        with open(diary, "a") as file:
            file.write(f"{transition.pk}\n")
        time.sleep(sleeps)

    signals.state_changed.connect(receiver)
    return transitions.deliver_due()


def write_into_database(transition):
    """What the shop's receiver remembers of a transition. Its table has no constraint that would hide a second time."""
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    key = f"{transition.pk}-{os.urandom(6).hex()}"
    Session.objects.create(session_key=key, session_data="", expire_date=timezone.now())


ACTIONS = {
    action.__name__: action
    for action in (
        deduct, scan, advance_till, poll_orders, refund, download, sign, terminate, sign_plan, start_service,
        on_service, poll_service_orders, place_combined, close_combined, send_due, receive, deliver_due,
    )
}  # fmt: skip


def die_at(point):
    """Kill this process before or after a function of a service: "module.function:before".

    With "stop " before it the process is only suspended there, and goes on when it is told to.
    """
    sign = signal.SIGSTOP if point.startswith("stop ") else signal.SIGKILL
    point = point.removeprefix("stop ")
    where, _, when = point.partition(":")
    module_name, _, name = where.rpartition(".")
    package = module_name.partition(".")[0]
    floor = "engine" if importlib.util.find_spec(f"django_wxpay.engine.{package}") else "services"
    module = importlib.import_module(f"django_wxpay.{floor}.{module_name}")
    original = getattr(module, name)

    @functools.wraps(original)
    def last_call(*args, **kwargs):
        result = original(*args, **kwargs) if when == "after" else None
        os.kill(os.getpid(), sign)
        return result if when == "after" else original(*args, **kwargs)

    setattr(module, name, last_call)


def main(action, arguments, without, dies):
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.celery_app import app
    from tests.real import weaken
    from tests.real.world import settings_of_test

    app.set_default()
    settings.WXPAY = settings_of_test()
    weaken.take_out(*without)
    if dies:
        die_at(dies)
    print(json.dumps(ACTIONS[action](**arguments)), flush=True)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))

import re
from pathlib import Path

from django_wxpay.sandbox import create_app, special
from django_wxpay.sandbox.engine.faults import CALL_FAULTS, NOTIFICATION_FAULTS
from django_wxpay.sandbox.statements import ERRORS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sandbox.md").read_text()


def test_the_page_lists_every_special_outcome_as_it_is():
    for outcome in special.PAYMENTS.values():
        amount = "" if outcome.quick_pay_only else f"`{outcome.amount}`"
        assert f"| {amount} | `{outcome.code}` | {outcome.says} |" in PAGE
    for outcome in (*special.REFUNDS.values(), *special.COLLECTIONS.values()):
        assert f"| `{outcome.amount}` | {outcome.says} |" in PAGE


def test_the_page_lists_every_fault_as_it_is():
    for table in (CALL_FAULTS, NOTIFICATION_FAULTS, ERRORS):
        for kind, says in table.items():
            assert f"| `{kind}` | {says} |" in PAGE


def test_the_page_names_every_control_call(app):
    def shape(path):
        return re.sub(r"[{<][^}>]*[}>]", "*", path)

    named = {shape(path) for path in re.findall(r"/_sandbox/[^`\s]*(?: or [^`}]*\}[^`\s]*)?", PAGE)}
    rules = {shape(str(rule)) for rule in app.url_map.iter_rules() if rule.endpoint.startswith("control.")}
    # Said in another way: «…/refuse», and the version that only the page asks for.
    assert rules - named <= {"/_sandbox/orders/*/refuse", "/_sandbox/version"}


def test_the_examples_in_process_run(sandbox):
    whole, *parts = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(whole, "docs/sandbox.md", "exec"), {"create_app": create_app})
    for part in parts:
        exec(compile(part, "docs/sandbox.md", "exec"), {"sandbox": sandbox})

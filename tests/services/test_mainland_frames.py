"""What error trackers write down while a message of the mainland's products is applied: nobody's openid."""

import pytest

from django_wxpay.exceptions import ProcessingFailed
from django_wxpay.services import combine_orders, service_orders, sign_plans
from tests.letters import catch
from tests.services.test_message_frames import OPENID, assert_frames_hide, breaking

pytestmark = [pytest.mark.django_db, pytest.mark.scenario("S52")]
HIDDEN = (OPENID, '"sign_state"', '"collection"', '"combine_payer_info"')


def unsigned(sandbox):
    plan = sandbox.plan()
    return sign_plans.sign(plan, openid=OPENID, openid_appid=plan.appid, reference="course")


def signing(sandbox):
    row = unsigned(sandbox)
    sandbox.wechat.sign_plans.confirm(row.number)
    return row


def collecting(sandbox):
    order = sandbox.started(sandbox.sign_plan(unsigned(sandbox)))
    order = service_orders.complete(order)
    sandbox.wechat.service_orders.user_pays(order.number)
    return order


def paying(sandbox):
    order = sandbox.combined(500, 700, openid=OPENID)
    sandbox.wechat.combine_orders.pays(order.number)
    return order


KINDS = {
    "sign plan": (signing, sign_plans.sync),
    "service order": (collecting, service_orders.sync),
    "combined order": (paying, combine_orders.sync),
}


@pytest.fixture(params=KINDS)
def kind(request, wxpay_sandbox):
    make, sync = KINDS[request.param]
    row = make(wxpay_sandbox)
    [*_, letter] = catch(wxpay_sandbox)
    return row, letter, sync


@pytest.mark.parametrize("part", ["INTO django_wxpay_transition", "UPDATE django_wxpay_{}"])
def test_no_frame_shows_what_was_being_applied_when_a_notification_broke(wxpay_sandbox, kind, part):
    row, letter, _ = kind
    with breaking(part.format(type(row).__name__.lower())), pytest.raises(ProcessingFailed) as raised:
        letter.receive()
    assert_frames_hide(raised.value, HIDDEN)


def test_no_frame_shows_what_was_being_applied_when_a_query_broke(wxpay_sandbox, kind):
    row, _, sync = kind
    with breaking("INTO django_wxpay_transition"), pytest.raises(ZeroDivisionError) as raised:
        sync(row)
    assert_frames_hide(raised.value, HIDDEN)

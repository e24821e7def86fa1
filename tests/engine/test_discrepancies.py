"""What does not fit: written once, counted, ended by a person who says how."""

import pytest
from django.contrib.auth import get_user_model

from django_wxpay.engine import discrepancies, timeline, transitions
from django_wxpay.exceptions import NotAllowedNow
from django_wxpay.models import Discrepancy, Transition
from django_wxpay.testing import make_order
from tests.letters import hearing

pytestmark = pytest.mark.django_db
Kind = Discrepancy.Kind


@pytest.fixture
def agent():
    return get_user_model().objects.create(username="agent")


@pytest.fixture
def order(wxpay_sandbox):
    return make_order()


@pytest.mark.scenario("S18")
def test_the_same_trouble_again_only_counts(order):
    first = discrepancies.record(Kind.MISMATCH, order, ours="3800", theirs="1")
    again = discrepancies.record(Kind.MISMATCH, order, ours="3800", theirs="2")
    first.refresh_from_db()
    assert (again.pk, first.seen, first.theirs) == (first.pk, 2, "1")
    assert Transition.objects.filter(subject="discrepancy").count() == 1


def test_another_kind_and_another_object_are_others(order):
    discrepancies.record(Kind.MISMATCH, order)
    discrepancies.record(Kind.STUCK, order)
    discrepancies.record(Kind.MISMATCH, make_order())
    assert Discrepancy.objects.count() == 3


def test_it_names_its_object_and_stands_in_its_timeline(order):
    found = discrepancies.record(Kind.MISMATCH, order, ours="a", theirs="b")
    assert (found.about, found.object_id, found.number, found.merchant) == (
        "order",
        order.pk,
        order.out_trade_no,
        "default",
    )
    assert [(entry.kind, entry.row) for entry in timeline.of(order)] == [("discrepancy", found)]


def test_the_shop_hears_of_it_once(order):
    with hearing("discrepancy_found") as heard:
        for _ in range(3):
            discrepancies.record(Kind.MISMATCH, order)
            transitions.deliver_due()
    assert heard == [("discrepancy_found", order.out_trade_no, "OPEN")]


@pytest.mark.parametrize(("end", "state"), [(discrepancies.resolve, "RESOLVED"), (discrepancies.ignore, "IGNORED")])
def test_a_person_ends_it_once_and_says_how(order, agent, end, state):
    found = discrepancies.record(Kind.MISMATCH, order)
    ended = end(found, by=agent, note="looked at the merchant platform")
    assert (ended.state, ended.resolved_by, ended.resolution) == (state, agent, "looked at the merchant platform")
    assert ended.resolved_at
    with pytest.raises(NotAllowedNow, match="ended already"):
        end(found, by=agent, note="again")


@pytest.mark.parametrize("note", ["", "   ", "\n"])
def test_ending_it_without_a_word_is_refused(order, agent, note):
    found = discrepancies.record(Kind.MISMATCH, order)
    with pytest.raises(ValueError, match="note is required"):
        discrepancies.resolve(found, by=agent, note=note)
    found.refresh_from_db()
    assert found.state == "OPEN"


def test_the_same_trouble_after_its_end_is_a_new_one(order, agent):
    first = discrepancies.record(Kind.MISMATCH, order)
    discrepancies.resolve(first, by=agent, note="done")
    second = discrepancies.record(Kind.MISMATCH, order)
    assert second.pk != first.pk
    assert (second.state, second.seen) == ("OPEN", 1)

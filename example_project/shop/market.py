"""The second-hand market: customers sell to each other, and what is paid goes to who sells."""

from django_wxpay.checkout import CombineOffer
from django_wxpay.models import PayeeAuthorization
from django_wxpay.services import combine_orders

MERCHANT = "courses"  # the shop's only merchant of the mainland
# Each seller brings one of these, the same one each time: title as WeChat Pay shows it, price in fen.
GOODS = (("Used teapot", 4_800), ("Three cups", 2_600), ("Tea tray", 7_500), ("Tea caddy", 3_200))
NEWEST = 20


def openid_of(user):
    """A real shop knows it from the mini program's login."""
    return f"o-{user.username}"[:128]


def stalls():
    """Who may be paid, as we know, and what he sells: [(payee, title, price)]."""
    sellers = PayeeAuthorization.objects.filter(
        merchant=MERCHANT, state=PayeeAuthorization.State.AUTHORIZED, user__isnull=False
    )
    return [(payee, *thing_of(payee)) for payee in sellers.select_related("user").order_by("-pk")[:NEWEST]]


def thing_of(payee):
    return GOODS[payee.pk % len(GOODS)]


def offer(user, chosen, reference):
    """What somebody pays for the things of these sellers (their keys, as text); None when there are none."""
    parts = [
        combine_orders.Part(payee, price, title, attach=payee.payee_no)
        for payee, title, price in stalls()
        if str(payee.pk) in chosen
    ]
    if not parts:
        return None
    return CombineOffer(
        parts=parts[:10], openid=openid_of(user), reference=reference, merchant=MERCHANT, trade_scenario="RECOMMERCE"
    )

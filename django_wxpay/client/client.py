"""The client of one merchant: the calls of every subject over one way to WeChat Pay."""

from __future__ import annotations

import copy
from datetime import datetime
from functools import cached_property

from .base import BaseClient
from .bills import Bills
from .certificates import Certificates
from .combine_orders import CombineOrders
from .contracts import Contracts
from .domestic_refunds import DomesticRefunds
from .ecommerce_refunds import EcommerceRefunds
from .media import Media
from .notifications import Notifications
from .orders import Orders
from .payees import Payees
from .payscore import Payscore
from .refunds import Refunds
from .service_orders import ServiceOrders
from .settlements import Settlements
from .sign_plans import SignPlans


class Client(BaseClient):
    """One merchant's client; parameters as `BaseClient` says. Make one per merchant, and keep it."""

    def before(self, moment: datetime) -> Client:
        """Return this client with a last moment to send: after it no request begins, RequestNotSent is raised instead.

        moment: an aware datetime. It is looked at last when a connection stands, right before the first byte is
        written; an answer is then waited for as long as ever. Connections, keys and settings are shared.
        """
        bound = copy.copy(self)
        bound._send_by = moment.timestamp()
        for name, member in vars(Client).items():
            if isinstance(member, cached_property):
                vars(bound).pop(name, None)  # it calls through the client without a last moment
        return bound

    @cached_property
    def bills(self) -> Bills:
        """Statements."""
        return Bills(self)

    @cached_property
    def certificates(self) -> Certificates:
        """Platform certificates."""
        return Certificates(self)

    @cached_property
    def combine_orders(self) -> CombineOrders:
        """One payment for several payees."""
        return CombineOrders(self)

    @cached_property
    def contracts(self) -> Contracts:
        """Auto-debit contracts."""
        return Contracts(self)

    @cached_property
    def domestic_refunds(self) -> DomesticRefunds:
        """Refunds of the mainland's payments."""
        return DomesticRefunds(self)

    @cached_property
    def ecommerce_refunds(self) -> EcommerceRefunds:
        """Refunds of what individual payees got."""
        return EcommerceRefunds(self)

    @cached_property
    def media(self) -> Media:
        """Pictures."""
        return Media(self)

    @cached_property
    def notifications(self) -> Notifications:
        """Messages received."""
        return Notifications(self)

    @cached_property
    def orders(self) -> Orders:
        """Payments."""
        return Orders(self)

    @cached_property
    def payees(self) -> Payees:
        """Persons that payments may go to."""
        return Payees(self)

    @cached_property
    def payscore(self) -> Payscore:
        """PayScore plans."""
        return Payscore(self)

    @cached_property
    def refunds(self) -> Refunds:
        """Refunds of payments."""
        return Refunds(self)

    @cached_property
    def service_orders(self) -> ServiceOrders:
        """PayScore service orders."""
        return ServiceOrders(self)

    @cached_property
    def settlements(self) -> Settlements:
        """Money paid out, or to be."""
        return Settlements(self)

    @cached_property
    def sign_plans(self) -> SignPlans:
        """PayScore plans that users sign."""
        return SignPlans(self)

"""What the engine must know of subjects and products. Each declares itself once, in its service, and whole.

A subject is a kind of row: a contract, an order. A product is what WeChat Pay sells and one or more subjects serve;
rows of one subject may be of several products, each with its own way to be asked about. A part that is left out is a
TypeError when the module is imported; a subject, product or command that nobody declared stops the process at start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

from ..models import SUBJECTS, Action, WireObject

if TYPE_CHECKING:
    from ..client import Client
    from ..client.answers import Answer
    from .commands import Command
    from .facts import Applied, Fact


class Event(NamedTuple):
    """A type of notification. number: the payload's field with the merchant's number of the row.

    belongs: whether a payload of this type is this subject's; several subjects may share a type. parts: what a payload
    says of each row where it speaks of several, each with its own merchant numbers, in the order in which these rows
    are locked; each is applied by itself.
    """

    type: str
    number: str
    belongs: Callable[[Mapping[str, Any]], bool] = lambda payload: True
    parts: Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]]] = lambda payload: (payload,)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A kind of row: how facts come in, and who hears of what they change."""

    model: type[WireObject]
    apply: Callable[[Fact], Applied]
    events: tuple[Event, ...]
    signal: Callable[[str, str], Signal | None]  # (from state, to state) -> the named signal of that move
    confirmed: frozenset[Any]  # final states that one more query confirms, unless a query brought them
    patience: Mapping[Any, timedelta]  # an open state -> how long until a person is told; without: open by its nature

    @property
    def name(self) -> str:
        return self.model.subject


@dataclass(frozen=True, kw_only=True)
class Product:
    """How rows of a subject are asked about, for one product. `name` is "" where the subject has one product only."""

    subject: str
    name: str
    regions: frozenset[str]
    query: Callable[[Client, Any], Answer]  # asks WeChat Pay about a row; applies nothing
    not_there: Callable[[Any, datetime], None]  # a query begun at that time proved: WeChat Pay does not know the row
    advance: Callable[[Any], Any]  # what the poller does for a row that is due
    pause: Callable[[Any, str], timedelta]  # (row, state) -> how long until an open row is due again
    part_of: Callable[[Any], WireObject] | None = None  # the row that is asked about in place of one of this product


SUBJECT: dict[str, Subject] = {}
PRODUCTS: dict[tuple[str, str], Product] = {}
COMMANDS: dict[str, Command] = {}

P = TypeVar("P", bound=Product)


def subject(declared: Subject) -> Subject:
    """Declare a kind of row."""
    SUBJECT[declared.name] = declared
    return declared


def product(declared: P) -> P:
    """Declare a product of a kind of row."""
    PRODUCTS[declared.subject, declared.name] = declared
    return declared


def command(declared: type[Command]) -> type[Command]:
    """Declare what is asked of WeChat Pay by an action; decorates its class."""
    COMMANDS[declared.action] = declared()
    return declared


def subject_of(row: WireObject) -> Subject:
    """The subject that a row is of."""
    return SUBJECT[row.subject]


def product_of(row: WireObject) -> Any:
    """The product that a row is of."""
    return PRODUCTS[row.subject, getattr(row, "product", "")]


def refuse_other_region(row: Any, region: str) -> None:
    """Raise ImproperlyConfigured when a merchant of that region does not have the product that a row is of.

    What is no row of a product (a statement, say) is its service's to check.
    """
    if isinstance(row, WireObject) and region not in (allowed := product_of(row).regions):
        raise ImproperlyConfigured(
            f"Merchant {row.merchant!r} is of the region {region!r}, but this {row.subject} is of a product of "
            f"{', '.join(sorted(allowed))}. Nothing was sent. Choose another merchant, or correct its REGION."
        )


def products(subject: str) -> list[Any]:
    """The declared products of a subject."""
    return [one for one in PRODUCTS.values() if one.subject == subject]


def event_of(event_type: str, payload: Mapping[str, Any]) -> tuple[Subject, Event] | None:
    """Whose a notification is, and which field names its row; None when no subject takes it."""
    for one in SUBJECT.values():
        for event in one.events:
            if event.type == event_type and event.belongs(payload):
                return one, event
    return None


def event_types() -> set[str]:
    """The types of notification that some subject takes."""
    return {event.type for one in SUBJECT.values() for event in one.events}


def family_of(event_type: str) -> list[tuple[Subject, Event]]:
    """What subjects take of a type's family (the word before its point); nothing when it is of no product of ours."""
    family = event_type.partition(".")[0]
    return [(one, event) for one in SUBJECT.values() for event in one.events if event.type.partition(".")[0] == family]


def check() -> None:
    """Raise ImproperlyConfigured unless all that the models name is declared. Called once, at start."""
    wanted: set[tuple[str, str]] = set()
    lacking = []
    for name, model in SUBJECTS.items():
        if not issubclass(model, WireObject):
            continue
        if name not in SUBJECT:
            lacking.append(f"subject {name}")
        names = model.Product.values if hasattr(model, "Product") else [""]
        wanted |= {(name, one) for one in names}
    lacking += [f"product {name or 'of'} {of}".strip() for of, name in sorted(wanted - PRODUCTS.keys())]
    lacking += [f"command {action}" for action in Action.values if action not in COMMANDS]
    if lacking:
        raise ImproperlyConfigured(f"django_wxpay: nobody declares {', '.join(lacking)}.")

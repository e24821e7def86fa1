"""Proves a configuration: settings, database and Celery once; then each merchant against WeChat Pay.

Nothing here changes money. The platform certificates it downloads are kept, as any download's are.
"""

from collections.abc import Iterable, Iterator

from . import merchant, project
from .findings import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]


def examine(
    aliases: Iterable[str], *, certificate: str = "", probe: bool = False, workers: bool = True
) -> Iterator[tuple[str, Finding]]:
    """Yield (what is examined, `Finding`) for each thing that can be proved, as soon as it is known.

    certificate: path of the merchant's own certificate (apiclient_cert.pem), to compare it with the private key.
    probe: send a message to our own notify URL, as WeChat Pay would; it must be refused there. workers: ask the
    broker and the workers of Celery. Never raises for what is wrong with the configuration; without a usable
    database the merchants are not looked at.
    """
    has_database = True
    for finding in project.examine(workers=workers):
        has_database &= not finding.stops
        yield "Project", finding
    if has_database:
        for alias in aliases:
            for finding in merchant.examine(alias, certificate=certificate, probe=probe):
                yield f"Merchant {alias}", finding

"""Platform certificates: the list, the one that signs, and the rotation in its three phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine import keys
from .engine.answers import Refused, Reply, ok
from .engine.clock import rfc3339
from .engine.protocol import Call
from .engine.store import Row

if TYPE_CHECKING:
    from .emulator import Sandbox

PHASES = ("listed", "used", "removed")
DAY_SECONDS = 86400


class Certificates:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store
        if not self._store.one("SELECT 1 FROM certificates"):
            self._add(sandbox.keys.platform, listed=True, signs=True)

    def download(self, call: Call) -> Reply:
        """GET /v3/global/certificates (and /v3/certificates): the listed ones, newest first, encrypted."""
        fault = call.fault_kind
        listed = [] if fault == "empty_list" else self.listed()
        return ok({"data": [self._item(row, wrong_tag=fault == "wrong_tag") for row in listed]})

    def listed(self) -> list[Row]:
        return self._store.all("SELECT * FROM certificates WHERE listed ORDER BY expires_at DESC")

    def all(self) -> list[Row]:
        return self._store.all("SELECT * FROM certificates ORDER BY effective_at, serial")

    def current(self) -> Row:
        """Return the certificate whose key signs now."""
        row = self._store.one("SELECT * FROM certificates WHERE signs")
        assert row is not None
        return row

    def signer(self) -> tuple[str, str]:
        current = self.current()
        return current["private_key"], current["serial"]

    def rotate(self, phase: str = "") -> str:
        """Take the next step of a rotation, or the named one, and return its name.

        listed: a new certificate appears beside the old one. used: the new one signs; the old one's expiry moves
        close. removed: the old one leaves the list.
        """
        with self._store.transaction():
            silent, soon = "SELECT * FROM certificates WHERE listed AND NOT signs", self._soon()
            new = self._store.one(f"{silent} AND expires_at > ?", soon)
            old = self._store.one(f"{silent} AND expires_at <= ?", soon)
            due = "removed" if old else "used" if new else "listed"
            phase = phase or due
            if phase not in PHASES:
                raise Refused(400, "PARAM_ERROR", f"phase is one of {', '.join(PHASES)}")
            if phase != due:
                raise Refused(409, "INVALID_REQUEST", f"the next phase of the rotation is {due!r}, not {phase!r}")
            if phase == "listed":
                # It must outlive the others: shops encrypt with the one that expires last.
                made = keys.Certificate.generate(
                    "Sandbox platform certificate", "django-wxpay sandbox", extra_days=len(self.all())
                )
                self._add(made, listed=True, signs=False)
            elif phase == "used":
                assert new is not None
                now = self._sandbox.clock.now()
                self._store.run("UPDATE certificates SET signs = 0, expires_at = ? WHERE signs", now + DAY_SECONDS)
                self._store.update("certificates", "serial", new["serial"], signs=1)
            else:
                assert old is not None
                self._store.update("certificates", "serial", old["serial"], listed=0)
        self._sandbox.write_merchant_file()
        return phase

    def _soon(self) -> float:
        return self._sandbox.clock.now() + 2 * DAY_SECONDS

    def _add(self, certificate: keys.Certificate, *, listed: bool, signs: bool) -> None:
        self._store.insert(
            "certificates",
            serial=certificate.serial,
            private_key=certificate.private_key,
            certificate=certificate.certificate,
            effective_at=certificate.effective_at,
            expires_at=certificate.expires_at,
            listed=int(listed),
            signs=int(signs),
        )

    def _item(self, row: Row, *, wrong_tag: bool) -> dict[str, object]:
        sealed = keys.encrypt(self._sandbox.apiv3_key, row["certificate"].encode(), "certificate")
        if wrong_tag:
            text = sealed["ciphertext"]
            sealed["ciphertext"] = ("B" if text[0] == "A" else "A") + text[1:]
        return {
            "serial_no": row["serial"],
            "effective_time": rfc3339(row["effective_at"]),
            "expire_time": rfc3339(row["expires_at"]),
            "encrypt_certificate": sealed,
        }

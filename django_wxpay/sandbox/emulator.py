"""The sandbox as one object: the subjects (contracts, orders, refunds …), what they remember, and their clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import history
from .certificates import Certificates
from .combine_orders import CombineOrders
from .contracts import Contracts
from .deductions import Deductions
from .domestic_refunds import DomesticRefunds
from .ecommerce_refunds import EcommerceRefunds
from .engine.answers import Refused
from .engine.clock import Clock
from .engine.faults import Faults
from .engine.fields import DIRECT, INSTITUTION
from .engine.interludes import Deed, Interludes
from .engine.keys import Keys, new_apiv3_key, shared_keys
from .engine.notifications import Notifications, Sender
from .engine.protocol import Merchant
from .engine.store import Row, Store
from .mainland import OTHER_SERVICE_ID, SERVICE_ID
from .orders import Orders
from .payees import Payees
from .payscore import Payscore
from .quickpay import QuickPay
from .recharge import Recharge
from .refunds import Refunds
from .schema import SCHEMA
from .service_orders import ServiceOrders
from .settlements import Settlements
from .sign_plans import SignPlans
from .statements import Statements

DATABASE, MERCHANT_FILE, KEY_FOLDER = "sandbox.sqlite3", "merchant.json", "keys"
IN_PROCESS_BASE_URL = "http://wxpay.sandbox"
CALLS_KEPT = 5000

MCHID, APPID = "1900000001", "wx5a4d0b0c00000001"
SP_MCHID, SP_APPID = "1900000100", "wx5a4d0b0c00000100"
SUB_MCHID, SUB_APPID = "1900000109", "wx5a4d0b0c00000109"
# The mainland's merchants sign with the same keys here. A shop of both regions wants numbers apart.
MAINLAND_MCHID, MAINLAND_APPID = "1900000201", "wx5a4d0b0c00000201"
MAINLAND_SP_MCHID, MAINLAND_SP_APPID = "1900000300", "wx5a4d0b0c00000300"
MAINLAND_SUB_MCHID, MAINLAND_SUB_APPID = "1900000309", "wx5a4d0b0c00000309"


class Sandbox:
    """WeChat Pay, as far as one shop can tell.

    state: folder that keeps everything, or None for memory only. sender: how notifications leave
    (``sender(url, headers, body) -> status`` or ``(status, body)``). speed: divides all delays (default 1; unlike
    the clock's shift it is not kept over a restart).
    """

    def __init__(
        self,
        state: Path | str | None = None,
        *,
        keys: Keys | None = None,
        sender: Sender | None = None,
        base_url: str = IN_PROCESS_BASE_URL,
        speed: float | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.state_folder = Path(state) if state is not None else None
        if self.state_folder:
            self.state_folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(self.state_folder / DATABASE if self.state_folder else None, SCHEMA)
        self.base_url = base_url.rstrip("/")
        self.clock = Clock(wall_clock)
        self.interludes = Interludes()
        self.after_change: Callable[[], None] = lambda: None
        with self.store.transaction():
            self.keys = self._keys(keys)
            self._restore_clock(speed)
            self._register_merchants()
            self.faults = Faults(self.store)
            self.certificates = Certificates(self)
            self.notifications = Notifications(self, sender)
            self.contracts = Contracts(self)
            self.orders = Orders(self)
            self.deductions = Deductions(self)
            self.refunds = Refunds(self)
            self.domestic_refunds = DomesticRefunds(self)
            self.recharge = Recharge(self)
            self.ecommerce_refunds = EcommerceRefunds(self)
            self.payees = Payees(self)
            self.combine_orders = CombineOrders(self)
            self.payscore = Payscore(self)
            self.sign_plans = SignPlans(self)
            self.service_orders = ServiceOrders(self)
            self.quickpay = QuickPay(self)
            self.statements = Statements(self)
            self.settlements = Settlements(self)
            self.notifications.resume()
        self.write_merchant_file()

    def close(self) -> None:
        self.store.close()

    # Who may ask

    @property
    def apiv3_key(self) -> str:
        return str(self.store.setting("apiv3_key", self.keys.apiv3_key))

    @property
    def merchant(self) -> dict[str, str]:
        """Return what ``merchant.json`` holds, with PEM texts in place of file names."""
        platform = self.certificates.current()
        return {
            "base_url": self.base_url,
            "mchid": MCHID,
            "appid": APPID,
            "sp_mchid": SP_MCHID,
            "sp_appid": SP_APPID,
            "sub_mchid": SUB_MCHID,
            "sub_appid": SUB_APPID,
            "mainland_mchid": MAINLAND_MCHID,
            "mainland_appid": MAINLAND_APPID,
            "mainland_sp_mchid": MAINLAND_SP_MCHID,
            "mainland_sp_appid": MAINLAND_SP_APPID,
            "mainland_sub_mchid": MAINLAND_SUB_MCHID,
            "mainland_sub_appid": MAINLAND_SUB_APPID,
            "service_id": SERVICE_ID,
            "other_service_id": OTHER_SERVICE_ID,
            "merchant_serial": self.keys.merchant.serial,
            "merchant_private_key": self.keys.merchant.private_key,
            "merchant_certificate": self.keys.merchant.certificate,
            "apiv3_key": self.apiv3_key,
            "platform_serial": platform["serial"],
            "platform_certificate": platform["certificate"],
            "public_key_id": self.keys.public_key_id,
            "public_key": self.keys.public_key,
        }

    def write_merchant_file(self) -> None:
        """Write ``merchant.json`` and the PEM files it names. In memory there is nothing to write."""
        if not self.state_folder:
            return
        (self.state_folder / KEY_FOLDER).mkdir(mode=0o700, exist_ok=True)
        described = self.merchant
        for name in ("merchant_private_key", "merchant_certificate", "platform_certificate", "public_key"):
            relative = f"{KEY_FOLDER}/{name}.pem"
            path = self.state_folder / relative
            path.write_text(described[name])
            path.chmod(0o600 if "private" in name else 0o644)
            described[name] = relative
        temporary = self.state_folder / f"{MERCHANT_FILE}.new"
        temporary.write_text(json.dumps(described, indent=2) + "\n")
        temporary.chmod(0o600)
        temporary.replace(self.state_folder / MERCHANT_FILE)

    def sub_appids(self, mchid: str) -> dict[str, set[str]]:
        result: dict[str, set[str]] = {}
        for row in self.store.all("SELECT * FROM sub_merchants WHERE mchid = ?", mchid):
            result.setdefault(row["sub_mchid"], set()).add(row["sub_appid"])
        return result

    def add_sub_merchant(self, sub_mchid: str, sub_appid: str, *, of: str = SP_MCHID) -> None:
        """Let an institution act for another sub-merchant (or with another appid of one)."""
        self.store.run("INSERT OR IGNORE INTO sub_merchants VALUES (?, ?, ?)", of, sub_mchid, sub_appid)

    def identity(self, row: Row) -> dict[str, str | None]:
        """Return the merchant's numbers as messages about this row carry them."""
        if self.merchants[row["mchid"]].mode == DIRECT:
            return {"mchid": row["mchid"], "appid": row["appid"]}
        return {
            "sp_mchid": row["mchid"],
            "sp_appid": row["appid"],
            "sub_mchid": row["sub_mchid"],
            "sub_appid": row["sub_appid"],
        }

    # Time

    def set_clock(
        self, *, speed: float | None = None, shift: float | None = None, skew: float | None = None
    ) -> dict[str, float]:
        """Set the speed, the shift of the business clock or the skew of the signatures' clock, in seconds."""
        if speed is not None and speed <= 0:
            raise Refused(400, "PARAM_ERROR", "speed must be above 0")
        self.clock.speed = self.clock.speed if speed is None else float(speed)
        self.clock.shift = self.clock.shift if shift is None else float(shift)
        self.clock.skew = self.clock.skew if skew is None else float(skew)
        kept = {"speed": self.clock.speed, "shift": self.clock.shift, "skew": self.clock.skew}
        self.store.set_setting("clock", kept)
        return kept

    def settle(self) -> None:
        """Let happen what is due by now: refunds finish, waiting payments end, sessions expire."""
        with self.store.transaction():
            now = self.clock.now()
            self.contracts.expire(now)
            self.orders.settle(now)
            self.refunds.settle(now)
            self.service_orders.settle(now)
            self.sign_plans.expire(now)
            self.combine_orders.settle(now)

    def deliver_due(self, now: float | None = None) -> list[Row]:
        """Settle, then send every notification that is due; return them as they are afterwards."""
        self.settle()
        return self.notifications.deliver_due(now)

    def deliver_pending(self) -> list[Row]:
        """Settle, then send every waiting notification once, due or not."""
        self.settle()
        return [self.notifications.send(row) for row in self.notifications.claim_due(float("inf"))]

    def advance(self, seconds: float) -> list[Row]:
        """Push the business clock forward; whatever falls due happens and is sent in its turn."""
        target = self.clock.now() + seconds
        sent = self.deliver_due()
        while (moment := self.next_due()) is not None and moment <= target:
            self.clock.shift += max(0.0, moment - self.clock.now())
            sent += self.deliver_due()
        self.set_clock(shift=self.clock.shift + max(0.0, target - self.clock.now()))
        return sent + self.deliver_due()

    def next_due(self) -> float | None:
        subjects = (self.orders, self.refunds, self.service_orders, self.notifications)
        moments = [subject.next_due() for subject in subjects]
        return min((moment for moment in moments if moment is not None), default=None)

    # Keys

    def rotate_apiv3_key(self, key: str = "") -> str:
        """Use another APIv3 key from now on; what was encrypted before stays as it is."""
        key = key or new_apiv3_key()
        if len(key.encode()) != 32:
            raise Refused(400, "PARAM_ERROR", "an APIv3 key has exactly 32 bytes")
        self.store.set_setting("apiv3_key", key)
        self.write_merchant_file()
        return key

    def set_public_key_share(self, percent: float) -> None:
        """Sign this share of the notifications with the public key's pair, 0 to 100."""
        if not 0 <= percent <= 100:
            raise Refused(400, "PARAM_ERROR", "percent is 0 to 100")
        self.store.set_setting("public_key_share", percent)

    # Shortcuts for tests

    def fault(self, kind: str, path: str = "", **order: Any) -> Row:
        """Order a fault for the next call of a path; see `faults.CALL_FAULTS`."""
        return self.faults.add(kind, path=path, **order)

    def notification_fault(self, kind: str, event_type: str = "", **order: Any) -> Row:
        """Order a fault for the next notification; see `faults.NOTIFICATION_FAULTS`."""
        return self.faults.add(kind, target="notification", path=event_type, **order)

    def meanwhile(self, deed: Deed, path: str = "", **order: Any) -> None:
        """Do this during the next call of a path, in process only; see `interludes.Interludes.add`."""
        self.interludes.add(deed, path, **order)

    def notify(
        self,
        event_type: str,
        content: dict[str, Any] | str,
        *,
        url: str,
        mchid: str = MCHID,
        original_type: str = "",
        times: int = 1,
    ) -> Row:
        """Send a genuine notification (signed, encrypted) with that content; return its row with all attempts.

        content: what is sealed in it; a text is sealed as it stands, JSON or not. original_type: by default what
        goes with the event type. times: how often the same message is sent now, acknowledged or not.
        """
        row = self.notifications.tell(mchid, event_type, url, content, original_type=original_type, about="by hand")
        for _ in range(times):
            row = self.notifications.deliver_now(row["notification_id"]) or row
        return row

    def describe(self) -> dict[str, Any]:
        """Return everything that happened, as ``GET /_sandbox/state`` does. No private keys."""
        return history.describe(self)

    def log_call(self, **columns: Any) -> None:
        self.store.insert("calls", **columns)
        self.store.run("DELETE FROM calls WHERE seq <= (SELECT MAX(seq) FROM calls) - ?", CALLS_KEPT)

    def _keys(self, given: Keys | None) -> Keys:
        stored = self.store.setting("keys")
        if stored:
            return Keys.from_dict(stored)
        made = given or (Keys.generate() if self.state_folder else shared_keys())
        self.store.set_setting("keys", made.as_dict())
        return made

    def _restore_clock(self, speed: float | None) -> None:
        kept = self.store.setting("clock", {})
        self.set_clock(speed=speed, shift=kept.get("shift"), skew=kept.get("skew"))

    def _register_merchants(self) -> None:
        self.merchants = {
            MCHID: Merchant(MCHID, APPID, DIRECT),
            SP_MCHID: Merchant(SP_MCHID, SP_APPID, INSTITUTION),
            MAINLAND_MCHID: Merchant(MAINLAND_MCHID, MAINLAND_APPID, DIRECT),
            MAINLAND_SP_MCHID: Merchant(MAINLAND_SP_MCHID, MAINLAND_SP_APPID, INSTITUTION),
        }
        self.add_sub_merchant(SUB_MCHID, SUB_APPID)
        self.add_sub_merchant(MAINLAND_SUB_MCHID, MAINLAND_SUB_APPID, of=MAINLAND_SP_MCHID)

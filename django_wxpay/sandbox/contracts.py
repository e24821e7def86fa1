"""Auto-debit contracts: signing sessions, what the user does on the phone, query, termination."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .engine.answers import Refused, Reply, no_content, ok
from .engine.clock import compact_day, rfc3339
from .engine.fields import BOTH, Field, integer, ip, moment, query_integer, text, url
from .engine.protocol import WITH_APPIDS, Call, Party
from .engine.store import Row
from .users import phone_openid

if TYPE_CHECKING:
    from .emulator import Sandbox

SESSION_SECONDS = 7200
OPEN, SIGNED, REFUSED, EXPIRED, REPLACED, TERMINATED = "OPEN", "SIGNED", "REFUSED", "EXPIRED", "REPLACED", "TERMINATED"
CODE = text(32, pattern=r"[0-9A-Za-z_\-|*@]+")

_COMMON = (
    *WITH_APPIDS,
    Field("plan_id", integer(1), BOTH),
    Field("out_contract_code", CODE, BOTH),
    Field("user_display_name", text(32), BOTH),
    Field("success_notify_url", url(), BOTH),
    Field("expired_time", moment()),
)
_OPENID = Field("openid", text(128))
_CLIENT_IP = Field("user_client_ip", ip(32))
_RETURN_URL = Field("return_url", url(query_allowed=True))
CHANNELS = {
    "miniprogram": (*_COMMON, _OPENID, _CLIENT_IP),
    "app": (*_COMMON, _OPENID, _CLIENT_IP),
    "jsapi": (*_COMMON, _OPENID, _RETURN_URL),
    "h5": (*_COMMON, _CLIENT_IP, _RETURN_URL, Field("return_appid", text(32))),
    "web": (*_COMMON, _RETURN_URL),
}


class Contracts:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    # What the merchant asks

    def pre_sign(self, call: Call, channel: str) -> Reply:
        """POST /v3/global/papay/contracts/{channel}-pre-entrust-sign."""
        asked = call.body(*CHANNELS[channel])
        party = call.party(asked)
        now = self._sandbox.clock.now()
        expires_at = now + SESSION_SECONDS
        if "expired_time" in asked:
            expires_at = self._sandbox.clock.business_time(asked["expired_time"])
        if expires_at <= now:
            given = rfc3339(asked["expired_time"])
            detail = {"field": "/expired_time", "value": given, "issue": "is over", "location": "body"}
            raise Refused(400, "PARAM_ERROR", "expired_time is over", detail=detail)
        if signed := self._by_code(party, asked["out_contract_code"]):
            raise Refused(
                400,
                "INVALID_REQUEST",
                f"out_contract_code was signed already, as contract {signed['contract_id']}: "
                "query it; a new contract needs a new out_contract_code",
            )
        session = self._store.insert(
            "sessions",
            session_id=self._new_number(10),
            mchid=party.mchid,
            appid=party.appid,
            sub_mchid=party.sub_mchid,
            sub_appid=party.sub_appid,
            channel=channel,
            plan_id=asked["plan_id"],
            out_contract_code=asked["out_contract_code"],
            user_display_name=asked["user_display_name"],
            openid=asked.get("openid"),
            success_notify_url=asked["success_notify_url"],
            return_url=asked.get("return_url"),
            created_at=now,
            expires_at=expires_at,
            state=OPEN,
        )
        self._store.run(
            "INSERT INTO plans (mchid, plan_id, success_notify_url) VALUES (?, ?, ?) "
            "ON CONFLICT (mchid, plan_id) DO UPDATE SET success_notify_url = excluded.success_notify_url",
            party.mchid,
            asked["plan_id"],
            asked["success_notify_url"],
        )
        return ok(self._launch(session))

    def query(self, call: Call, contract_id: str) -> Reply:
        """GET /v3/global/papay/contracts/{contract_id}."""
        party = call.party(call.query(*WITH_APPIDS))
        contract = self._find(party, call.in_path("contract_id", contract_id, 64))
        return ok(self._shown(call, contract))

    def query_by_code(self, call: Call, out_contract_code: str) -> Reply:
        """GET /v3/global/papay/contracts/out-contract-code/{out_contract_code}."""
        asked = call.query(*WITH_APPIDS, Field("plan_id", query_integer(1), BOTH))
        contract = self._by_code(call.party(asked), call.in_path("out_contract_code", out_contract_code, 32))
        if not contract or contract["plan_id"] != asked["plan_id"]:
            raise _not_exist(404)
        return ok(self._shown(call, contract))

    def terminate(self, call: Call, contract_id: str) -> Reply:
        """POST /v3/global/papay/contracts/{contract_id}/terminate."""
        asked = call.body(*WITH_APPIDS, Field("termination_note", text(256), BOTH))
        contract = self._find(call.party(asked), call.in_path("contract_id", contract_id, 64), status=403)
        if contract["state"] == TERMINATED:
            raise _not_exist(403)
        self._end(contract, mode="MERCHANT", note=asked["termination_note"])
        return no_content()

    def payload(self, contract: Row) -> dict[str, Any]:
        """Return what a notification says of a contract: of its signing, or of its end."""
        ended = contract["state"] == TERMINATED
        return {
            **self._sandbox.identity(contract),
            "contract_id": contract["contract_id"],
            "out_contract_code": contract["out_contract_code"],
            "plan_id": contract["plan_id"],
            "openid": contract["openid"],
            "operate_time": rfc3339(contract["terminated_at"] if ended else contract["signed_at"]),
            "contract_termination_mode": contract["termination_mode"],
        }

    def for_deduction(self, party: Party, contract_id: str) -> Row:
        """Return the contract that a deduction names, or refuse: one that is not the caller's is no other case."""
        contract = self._owned(party, contract_id)
        if not contract or contract["state"] == TERMINATED:
            raise Refused(403, "NO_AUTH", f"contract {contract_id} is not there, or terminated")
        return contract

    # What the user does

    def sign(self, session_or_code: str, *, openid: str = "") -> Row:
        """Agree to a session, named by session_id or by out_contract_code. Returns the contract."""
        with self._store.transaction():
            session = self.session(session_or_code)
            if session["state"] == SIGNED:
                return self.get(session["contract_id"])
            self._must_be_open(session)
            if openid and session["openid"] and openid != session["openid"]:
                raise Refused(403, "RULE_LIMIT", "only the openid named by the merchant can sign this session")
            now = self._sandbox.clock.now()
            contract = self._store.insert(
                "contracts",
                contract_id=self._new_number(10),
                mchid=session["mchid"],
                appid=session["appid"],
                sub_mchid=session["sub_mchid"],
                sub_appid=session["sub_appid"],
                plan_id=session["plan_id"],
                out_contract_code=session["out_contract_code"],
                user_display_name=session["user_display_name"],
                openid=openid or session["openid"] or phone_openid(session["sub_appid"] or session["appid"]),
                state=SIGNED,
                signed_at=now,
            )
            self._store.run(
                "UPDATE sessions SET state = ? "
                "WHERE mchid = ? AND sub_mchid = ? AND out_contract_code = ? AND state = ?",
                REPLACED,
                session["mchid"],
                session["sub_mchid"],
                session["out_contract_code"],
                OPEN,
            )
            self._store.update(
                "sessions", "session_id", session["session_id"], state=SIGNED, contract_id=contract["contract_id"]
            )
            self._tell("PAPAY.SIGN", contract["contract_id"], session["success_notify_url"])
            return self.get(contract["contract_id"])

    def refuse(self, session_or_code: str) -> Row:
        """Refuse a session: nobody is notified, the merchant's query goes on finding nothing."""
        with self._store.transaction():
            session = self.session(session_or_code)
            if session["state"] != REFUSED:
                self._must_be_open(session)
            self._store.update("sessions", "session_id", session["session_id"], state=REFUSED)
            return self.session(session["session_id"])

    def terminate_by_user(self, contract_id_or_code: str) -> Row:
        """Terminate a contract inside WeChat, as its user can at any time."""
        with self._store.transaction():
            contract = self.get(contract_id_or_code)
            if contract["state"] != TERMINATED:
                self._end(contract, mode="USER", note=None)
            return self.get(contract["contract_id"])

    # Plain looks

    def session(self, session_or_code: str) -> Row:
        """Return a session by its id, or the newest one of an out_contract_code."""
        row = self._store.one("SELECT * FROM sessions WHERE session_id = ?", session_or_code) or self._store.one(
            "SELECT * FROM sessions WHERE out_contract_code = ? "
            "ORDER BY state = 'OPEN' DESC, created_at DESC, rowid DESC",
            session_or_code,
        )
        if not row:
            raise Refused(404, "RESOURCE_NOT_EXISTS", f"no signing session {session_or_code}")
        return row

    def get(self, contract_id_or_code: str) -> Row:
        row = self._store.one("SELECT * FROM contracts WHERE contract_id = ?", contract_id_or_code) or self._store.one(
            "SELECT * FROM contracts WHERE out_contract_code = ? ORDER BY signed_at DESC", contract_id_or_code
        )
        if not row:
            raise _not_exist(404)
        return row

    def expire(self, now: float) -> None:
        self._store.run("UPDATE sessions SET state = ? WHERE state = ? AND expires_at <= ?", EXPIRED, OPEN, now)

    def set_termination_url(self, plan_id: int, termination_url: str | None, *, mchid: str = "") -> None:
        """Set where PAPAY.TERMINATE of a plan goes; None: to the success_notify_url the plan last saw."""
        with self._store.transaction():
            for merchant in self._sandbox.merchants.values():
                if mchid in ("", merchant.mchid):
                    self._store.run(
                        "INSERT INTO plans (mchid, plan_id, termination_url) VALUES (?, ?, ?) "
                        "ON CONFLICT (mchid, plan_id) DO UPDATE SET termination_url = excluded.termination_url",
                        merchant.mchid,
                        plan_id,
                        termination_url,
                    )

    def _launch(self, session: Row) -> dict[str, str]:
        base, session_id = self._sandbox.base_url, session["session_id"]
        if session["channel"] in ("miniprogram", "app"):
            return {"session_id": session_id}
        if session["channel"] == "web":
            return {"show_code_url": f"{base}/global/papay/contracts/sessions/show_code?os_session_id={session_id}"}
        return {"sign_url": f"{base}/global/papay/contracts/login?os_session_id={session_id}#wechat_redirect"}

    def _owned(self, party: Party, contract_id: str) -> Row | None:
        return self._store.one(
            "SELECT * FROM contracts WHERE contract_id = ? AND mchid = ? AND sub_mchid = ?",
            contract_id,
            party.mchid,
            party.sub_mchid,
        )

    def _find(self, party: Party, contract_id: str, *, status: int = 404) -> Row:
        if row := self._owned(party, contract_id):
            return row
        raise _not_exist(status)

    def _by_code(self, party: Party, out_contract_code: str) -> Row | None:
        return self._store.one(
            "SELECT * FROM contracts WHERE out_contract_code = ? AND mchid = ? AND sub_mchid = ?",
            out_contract_code,
            party.mchid,
            party.sub_mchid,
        )

    def _shown(self, call: Call, contract: Row) -> dict[str, Any]:
        return {
            **self._sandbox.identity(contract),
            "contract_id": contract["contract_id"],
            "plan_id": contract["plan_id"],
            "out_contract_code": contract["out_contract_code"],
            "user_display_name": contract["user_display_name"],
            "state": contract["state"],
            "signed_time": rfc3339(contract["signed_at"]),
            "terminated_time": rfc3339(contract["terminated_at"]) if contract["terminated_at"] else None,
            "termination_mode": contract["termination_mode"],
            "termination_note": contract["termination_note"],
            "openid": contract["openid"],
        }

    def _end(self, contract: Row, *, mode: str, note: str | None) -> None:
        now = self._sandbox.clock.now()
        self._store.update(
            "contracts",
            "contract_id",
            contract["contract_id"],
            state=TERMINATED,
            terminated_at=now,
            termination_mode=mode,
            termination_note=note,
        )
        plan = self._store.one(
            "SELECT * FROM plans WHERE mchid = ? AND plan_id = ?", contract["mchid"], contract["plan_id"]
        )
        destination = (plan["termination_url"] or plan["success_notify_url"]) if plan else None
        self._tell("PAPAY.TERMINATE", contract["contract_id"], destination)

    def _tell(self, event_type: str, contract_id: str, url: str | None) -> None:
        contract = self.get(contract_id)
        if url:
            self._sandbox.notifications.tell(
                contract["mchid"], event_type, url, self.payload(contract), about=contract_id
            )

    def _must_be_open(self, session: Row) -> None:
        if session["state"] == OPEN and session["expires_at"] <= self._sandbox.clock.now():
            raise Refused(409, "INVALID_REQUEST", "the signing session has expired")
        if session["state"] != OPEN:
            raise Refused(409, "INVALID_REQUEST", f"the signing session is {session['state']}")

    def _new_number(self, digits: int) -> str:
        return compact_day(self._sandbox.clock.now()) + f"{secrets.randbelow(10**digits):0{digits}d}"


def _not_exist(status: int) -> Refused:
    return Refused(status, "CONTRACT_NOT_EXIST", "the contract does not exist, is not signed yet, or has ended")

"""A tiny shop that speaks APIv3 by itself: signs with ``cryptography``, verifies, decrypts. Shares no code with us."""

import base64
import json
import secrets
import time

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from django_wxpay.sandbox.transport import WSGIAdapter

NOTIFY_URL = "https://shop.example/wxpay/notify/"


class Shop:
    """One merchant in front of a sandbox. ``mode`` is "direct" or "institution"."""

    def __init__(self, app, mode="direct"):
        self.sandbox = app.sandbox
        self.merchant = app.sandbox.merchant
        self.mode = mode
        self.mchid = self.merchant["mchid" if mode == "direct" else "sp_mchid"]
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount("http://", WSGIAdapter(app))
        self.key = serialization.load_pem_private_key(self.merchant["merchant_private_key"].encode(), None)

    # Identity, as the manual's tables list it

    @property
    def appids(self):
        if self.mode == "direct":
            return {"appid": self.merchant["appid"]}
        names = ("sp_appid", "sub_mchid", "sub_appid")  # a test may take the last one away
        return {name: self.merchant[name] for name in names if name in self.merchant}

    @property
    def numbers(self):
        if self.mode == "direct":
            return {"mchid": self.merchant["mchid"]}
        return {name: self.merchant[name] for name in ("sp_mchid", "sub_mchid")}

    @property
    def sub(self):
        return {} if self.mode == "direct" else {"sub_mchid": self.merchant["sub_mchid"]}

    # The wire

    def authorization(self, method, target, body, *, timestamp=None, nonce=None, serial=None, mchid=None):
        timestamp, nonce = str(int(timestamp or time.time())), nonce or secrets.token_hex(16)
        message = f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = base64.b64encode(self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()
        return (
            f'WECHATPAY2-SHA256-RSA2048 mchid="{mchid or self.mchid}",nonce_str="{nonce}",timestamp="{timestamp}",'
            f'serial_no="{serial or self.merchant["merchant_serial"]}",signature="{signature}"'
        )

    def request(self, method, path, *, query=None, body=None, headers=None, timeout=10):
        raw = b"" if body is None else to_json(body)
        url = "http://wxpay.sandbox" + path
        prepared = self.session.prepare_request(requests.Request(method, url, params=query, data=raw or None))
        prepared.headers.update({"Accept": "application/json", "User-Agent": "shop/1", "Accept-Encoding": "identity"})
        if raw:
            prepared.headers["Content-Type"] = "application/json"
        prepared.headers["Authorization"] = self.authorization(method, prepared.path_url, raw)
        for name, value in (headers or {}).items():
            prepared.headers.pop(name, None)
            if value is not None:
                prepared.headers[name] = value
        return self.session.send(prepared, timeout=timeout)

    def get(self, path, **query):
        return self.request("GET", path, query=query)

    def post(self, path, **body):
        return self.request("POST", path, body=body)

    def verifies(self, headers, body):
        """Whether the headers prove this body, by certificate or by public key."""
        if headers["Wechatpay-Serial"] == self.merchant["public_key_id"]:
            key = serialization.load_pem_public_key(self.merchant["public_key"].encode())
        else:
            found = {row["serial"]: row["certificate"] for row in self.sandbox.certificates.all()}
            key = x509.load_pem_x509_certificate(found[headers["Wechatpay-Serial"]].encode()).public_key()
        message = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode() + body + b"\n"
        try:
            signature = base64.b64decode(headers["Wechatpay-Signature"], validate=True)
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True

    def decrypt(self, resource):
        gcm = AESGCM(self.sandbox.merchant["apiv3_key"].encode())
        sealed = base64.b64decode(resource["ciphertext"])
        return gcm.decrypt(resource["nonce"].encode(), sealed, resource["associated_data"].encode())

    # What tests do again and again

    def pre_sign(self, code, *, channel="miniprogram", plan_id=12345, **more):
        body = {
            **self.appids,
            "plan_id": plan_id,
            "out_contract_code": code,
            "user_display_name": "Li M.",
            "success_notify_url": NOTIFY_URL,
            **more,
        }
        return self.request("POST", f"/v3/global/papay/contracts/{channel}-pre-entrust-sign", body=body)

    def signed(self, code="c1", **more):
        """A contract that the user has signed."""
        answer = self.pre_sign(code, **more)
        assert answer.status_code == 200, answer.text
        return self.sandbox.contracts.sign(code)

    def deduct(self, contract, number, total=3800, currency="HKD", **more):
        body = {
            **self.appids,
            "description": "March plan",
            "notify_url": NOTIFY_URL,
            "out_trade_no": number,
            "merchant_category_code": "5734",
            "contract_id": contract["contract_id"],
            "amount": {"total": total, "currency": currency},
            **more,
        }
        return self.request("POST", "/v3/global/papay/transactions", body=body)

    def refund(self, number, refund_number, amount, total=3800, currency="HKD", **more):
        body = {
            **self.numbers,
            **self.appids,
            "out_trade_no": number,
            "out_refund_no": refund_number,
            "amount": {"refund": amount, "total": total, "currency": currency},
            "notify_url": NOTIFY_URL,
            **more,
        }
        return self.request("POST", "/v3/global/refunds", body=body)


class School(Shop):
    """A merchant of the mainland that sells PayScore plans: "direct" or "partner"."""

    def __init__(self, app, mode="direct"):
        super().__init__(app, mode)
        self.mchid = self.merchant["mainland_mchid" if mode == "direct" else "mainland_sp_mchid"]
        self.service = {"service_id": self.merchant["service_id"]}
        self.below = "" if mode == "direct" else "partner/"
        self._numbers = 0

    @property
    def sub(self):
        return {} if self.mode == "direct" else {"sub_mchid": self.merchant["mainland_sub_mchid"]}

    @property
    def parties(self):
        return {"appid": self.merchant["mainland_appid" if self.mode == "direct" else "mainland_sp_appid"], **self.sub}

    @property
    def own(self):
        """Who asks about a service order: direct merchants add their appid."""
        return self.sub or {"appid": self.merchant["mainland_appid"]}

    @property
    def done(self):
        """The status of what was done to a service order: a partner is told nothing more."""
        return 200 if self.mode == "direct" else 204

    def number(self, word):
        self._numbers += 1
        return f"{word}{self._numbers}"

    # Paths

    @property
    def plans(self):
        return f"/v3/payscore/plan/{self.below}payscore-plans"

    @property
    def sign_plans(self):
        return f"/v3/payscore/sign-plan/{self.below}user-sign-plans"

    @property
    def starts(self):
        return f"/v3/payscore/sign-plan/{self.below}serviceorder"

    @property
    def orders(self):
        return f"/v3/payscore/{self.below}serviceorder"

    # Bodies, and what tests do again and again

    def plan_body(self, *prices, **changes):
        prices = prices or (10000, 5000, 0)
        body = {
            **self.parties, **self.service, "merchant_plan_no": self.number("plan"), "plan_name": "Swim",
            "plan_duration": 90, "deduction_quantity": len(prices),
            "total_original_price": sum(max(price, 10000) for price in prices), "total_actual_price": sum(prices),
            "plan_detail_list": [
                {"plan_detail_name": f"Lesson {no}", "original_price": max(price, 10000), "actual_price": price}
                for no, price in enumerate(prices, 1)
            ],
        }  # fmt: skip
        return body | changes

    def plan(self, *prices):
        return self.post(self.plans, **self.plan_body(*prices)).json()

    def signing_body(self, plan, **changes):
        details = [
            {"plan_detail_no": one["plan_detail_no"], "merchant_plan_detail_no": self.number("lesson")}
            for one in plan["plan_detail_list"]
        ]
        body = {
            **self.parties, **self.service, "openid": "o-1", "plan_id": plan["plan_id"], "notify_url": NOTIFY_URL,
            "merchant_sign_plan_no": self.number("signing"), "sign_plan_detail": details,
        }  # fmt: skip
        return body | changes

    def signed_plan(self, *prices):
        """A sign plan that its user has signed."""
        opened = self.post(self.sign_plans, **self.signing_body(self.plan(*prices))).json()
        return self.sandbox.sign_plans.shown(self.sandbox.sign_plans.confirm(opened["package"]))

    def start_body(self, signed, no=1, **changes):
        [detail] = [one for one in signed["signed_detail_list"] if one["plan_detail_no"] == no]
        body = {
            **self.parties, **self.service, "openid": "o-1", "sign_plan_id": signed["sign_plan_id"],
            "plan_detail_no": no, "out_trade_no": detail["merchant_plan_detail_no"], "notify_url": NOTIFY_URL,
            "service_introduction": "Swim", "time_range": {"start_time": "20260301100000"},
        }  # fmt: skip
        return {name: value for name, value in (body | changes).items() if value is not None}

    def started(self, *prices):
        """The first service of a plan, in use."""
        answer = self.post(self.starts, **self.start_body(self.signed_plan(*prices)))
        assert answer.status_code == 200, answer.text
        return answer.json()["out_order_no"]

    def complete_body(self, amount, *off, **changes):
        body = {
            **self.own, **self.service, "post_payments": [{"name": "Lesson", "amount": amount}],
            "total_amount": amount - sum(off), "time_range": {"end_time": "20260301110000"},
        }  # fmt: skip
        if off:
            body["post_discounts"] = [{"name": f"Off {no}", "amount": one} for no, one in enumerate(off)]
        return body | changes

    def ask(self, number, what, **body):
        return self.post(f"{self.orders}/{number}/{what}", **self.own, **self.service, **body)

    def completed(self, price):
        number = self.started(price)
        answer = self.post(f"{self.orders}/{number}/complete", **self.complete_body(price))
        assert answer.status_code == self.done, answer.text
        return number

    def order(self, number):
        """What WeChat Pay says of a service order."""
        return self.get(self.orders, **self.own, **self.service, out_order_no=number).json()

    def modification(self, amount, **changes):
        return {
            "post_payments": [{"name": "Less", "amount": amount}],
            "total_amount": amount,
            "reason": "rain",
        } | changes

    def paid(self, price=10000):
        """WeChat Pay's number of what it collected for a service."""
        return self.order(self.completed(price))["collection"]["details"][0]["transaction_id"]


def to_json(body):
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character can only be written as an escape
        return json.dumps(body).encode()


class Mailbox:
    """The shop's notification address: keeps what came, answers as told."""

    def __init__(self):
        self.received = []
        self.answers = []

    def __call__(self, url, headers, body):
        self.received.append((url, headers, body))
        answer = self.answers.pop(0) if self.answers else (200, b'{"code":"SUCCESS","message":"OK"}')
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def types(self):
        return [json.loads(body)["event_type"] for _, _, body in self.received]

    def message(self, shop, position=-1):
        """The decrypted resource of one notification."""
        return json.loads(shop.decrypt(json.loads(self.received[position][2])["resource"]))

"""How much the client costs beyond the cryptography it cannot do without.

    python benchmarks/client.py [--rows 1000000]

Prints ratios, measured side by side in one run: signing a request over a raw RSA signature; verifying,
decrypting and parsing a notification over the same with bare library calls; a call over loopback over the same
call by urllib3 and by a default `requests.Session`; reading a statement over splitting its lines, with the
memory it took.
"""

import argparse
import base64
import datetime
import http.server
import json
import multiprocessing
import resource
import ssl
import statistics
import tempfile
import time

import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from django_wxpay.client import Client, Identity, KeyRing
from django_wxpay.client.connections import PooledAdapter
from django_wxpay.client.statements import COLUMNS, parse_statement

APIV3_KEY = "0123456789abcdef0123456789abcdef"
PKCS1, SHA256 = padding.PKCS1v15(), hashes.SHA256()
MERCHANT = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PLATFORM = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000001002026030100000006500001"


def compare(rounds, calls, **works):
    """Return the median microseconds of each work, taken in turns so that all see the same machine."""
    taken = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            for _ in range(calls):
                work()
            taken[name].append((time.perf_counter() - started) / calls * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def report(title, taken, floor):
    for name, micros in taken.items():
        print(f"{title:<14} {name:<22} {micros:10.1f} µs   {micros / taken[floor]:6.3f} ×")


def make_client(**options):
    public = PLATFORM.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    identity = Identity(
        mchid="1900000100",
        appid="wx1111111111111111",
        serial_no="3A00000000000000000000000000000000000001",
        private_key=MERCHANT,
        apiv3_key=APIV3_KEY,
    )
    return Client(identity, keys=KeyRing({PUBLIC_KEY_ID: public}), **options)


def platform_headers(body):
    timestamp, nonce = str(int(time.time())), "0f5d7b6f7c0f4a0c9e1d4f3ab2c86a11"
    signature = PLATFORM.sign(f"{timestamp}\n{nonce}\n".encode() + body + b"\n", PKCS1, SHA256)
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": PUBLIC_KEY_ID,
        "Wechatpay-Signature": base64.b64encode(signature).decode(),
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }


def signing():
    client, body = make_client(), json.dumps({"reason": "x" * 400}).encode()
    message = b"POST\n/v3/global/refunds\n1767225600\n0f5d7b6f7c0f4a0c9e1d4f3ab2c86a11\n" + body + b"\n"
    taken = compare(
        15,
        100,
        raw=lambda: MERCHANT.sign(message, PKCS1, SHA256),
        client=lambda: client.authorization("POST", "/v3/global/refunds", body),
    )
    report("sign", taken, "raw")


def receiving():
    client = make_client()
    plain = json.dumps({f"field_{number}": "value" * 4 for number in range(20)}).encode()
    sealed = AESGCM(APIV3_KEY.encode()).encrypt(b"synthnonce12", plain, b"transaction")
    body = json.dumps(
        {
            "id": "5f6d1c9e-2a77-5b0e-9d51-0f6b0a4c7e10",
            "create_time": "2026-03-01T12:00:05+08:00",
            "event_type": "TRANSACTION.SUCCESS",
            "resource_type": "encrypt-resource",
            "resource": {
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": base64.b64encode(sealed).decode(),
                "nonce": "synthnonce12",
                "associated_data": "transaction",
            },
        }
    ).encode()
    headers = platform_headers(body)
    public, gcm = PLATFORM.public_key(), AESGCM(APIV3_KEY.encode())

    def raw():
        message = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode() + body + b"\n"
        public.verify(base64.b64decode(headers["Wechatpay-Signature"]), message, PKCS1, SHA256)
        resource = json.loads(body)["resource"]
        data = base64.b64decode(resource["ciphertext"])
        json.loads(gcm.decrypt(resource["nonce"].encode(), data, resource["associated_data"].encode()))

    def ours():
        notifications = client.notifications
        notifications.verify(headers, body)
        notifications.decrypt(notifications.decode(body))

    report("receive", compare(25, 400, raw=raw, client=ours), "raw")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer = b'{"trade_state":"SUCCESS"}'
    signed = platform_headers(answer)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        head = "".join(f"{name}: {value}\r\n" for name, value in self.signed.items())
        length = len(self.answer)
        self.wfile.write(f"HTTP/1.1 200 OK\r\n{head}Content-Length: {length}\r\n\r\n".encode() + self.answer)

    def log_message(self, *_):
        pass


def serve(ready, certificate):
    """Answer over HTTPS, in a process of its own: it must not share our interpreter's time."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    ready.send(server.server_port)
    server.serve_forever()


def calling():
    with tempfile.NamedTemporaryFile("wb", suffix=".pem") as certificate:
        certificate.write(server_certificate())
        certificate.flush()
        ready, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("fork").Process(target=serve, args=(theirs, certificate.name))
        server.start()
        try:
            compare_calls(f"https://localhost:{ready.recv()}", certificate.name)
        finally:
            server.kill()
            server.join()


def server_certificate():
    """Return key and certificate of ``localhost`` as PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(PLATFORM.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(PLATFORM, SHA256)
    )
    key = PLATFORM.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key + made.public_bytes(serialization.Encoding.PEM)


def compare_calls(url, roots):
    session, pool = requests.Session(), urllib3.PoolManager(ca_certs=roots)
    client = make_client(host=url, transport=PooledAdapter(ssl.create_default_context(cafile=roots)))
    body = {"amount": 1}
    content = json.dumps(body).encode()

    def by_hand(send):
        headers = {"Authorization": client.authorization("POST", "/v3/x", content)}
        signed, text = send(headers)
        message = f"{signed['Wechatpay-Timestamp']}\n{signed['Wechatpay-Nonce']}\n".encode() + text + b"\n"
        PLATFORM.public_key().verify(base64.b64decode(signed["Wechatpay-Signature"]), message, PKCS1, SHA256)
        return json.loads(text)

    def over_urllib3(headers):
        answer = pool.request("POST", url + "/v3/x", body=content, headers=headers)
        return answer.headers, answer.data

    def over_session(headers):
        answer = session.post(url + "/v3/x", data=content, headers=headers, verify=roots)
        return answer.headers, answer.content

    taken = compare(
        15,
        60,
        urllib3=lambda: by_hand(over_urllib3),
        session=lambda: by_hand(over_session),
        client=lambda: client.request("POST", "/v3/x", body=body),
    )
    report("call", taken, "session")


def reading(rows):
    line = ",".join(f"`{column.name[:6]}" for column in COLUMNS).encode() + b"\n"
    with tempfile.TemporaryFile() as file:
        file.write((",".join(column.zh for column in COLUMNS) + "\n").encode())
        for _ in range(rows // 1000):
            file.write(line * 1000)
        file.seek(0)
        started = time.perf_counter()
        for text in file:
            text.split(b",`")
        floor = time.perf_counter() - started
        file.seek(0)
        started = time.perf_counter()
        count = 0
        for row in parse_statement(file):
            count += bool(row.out_trade_no) + bool(row.trade_state)
        ours = time.perf_counter() - started
    print(f"{'statement':<14} {'split':<22} {rows / floor / 1000:10.0f} k rows/s")
    print(f"{'statement':<14} {'client':<22} {rows / ours / 1000:10.0f} k rows/s  {floor / ours:6.3f} × of split")
    print(f"{'memory':<14} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    signing()
    receiving()
    calling()
    reading(asked.rows)

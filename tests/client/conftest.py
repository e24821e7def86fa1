import ssl
import subprocess

import pytest

from django_wxpay.client import Client, KeyRing

from .sockets import serving
from .wire import PUBLIC_KEY_ID, make_identity, public_pem


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture
def client_of():
    """Makes clients without a fake network, and closes their connections."""
    made = []

    def make(host, **options):
        options = {"connect_timeout": 2, "read_timeout": 2} | options
        keys = KeyRing({PUBLIC_KEY_ID: public_pem("platform")})
        made.append(Client(make_identity(), keys=keys, host=host, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def tls_server(tls_files):
    with serving() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls_files / "cert.pem", tls_files / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server

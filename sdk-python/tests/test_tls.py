"""TLS to a real server: who vouches for it, and the certificate by which it knows its caller."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import trustme
from twinlock import AsyncClient, CallerError, Client, RequestError, UnavailableError

from .server import Server

CALLERS = """
[server]
tls_cert = "server.pem"
tls_key = "server.key"
tls_client_ca = "ca.pem"

[[caller]]
name = "shop"
san = "shop.internal"
"""


def pem(*blobs: trustme.Blob) -> bytes:
    return b"".join(blob.bytes() for blob in blobs)


class Names:
    """An authority, and the certificates that it has issued."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.authority = pem(authority.cert_pem)
        self.server = authority.issue_cert("localhost", "127.0.0.1")
        self.shop = self.options(authority.issue_cert("shop.internal"))
        self.stranger = self.options(authority.issue_cert("stranger.internal"))

    def options(self, issued: trustme.LeafCert) -> dict[str, Any]:
        return {
            "tls_ca": self.authority,
            "tls_certificate": pem(*issued.cert_chain_pems),
            "tls_key": pem(issued.private_key_pem),
        }


@pytest.fixture(scope="module")
def names() -> Names:
    return Names()


@pytest.fixture(scope="module")
def server(names: Names) -> Iterator[Server]:
    files = {
        "ca.pem": names.authority,
        "server.pem": pem(*names.server.cert_chain_pems),
        "server.key": pem(names.server.private_key_pem),
    }
    with Server(file=CALLERS, files=files) as server:
        yield server


def test_a_caller_is_known_by_its_certificate(server: Server, names: Names) -> None:
    assert server.address.startswith("https://")
    with Client(server.address, **names.shop) as shop:
        assert not shop.describe_user(user_id="nobody").enrolled
        assert shop.with_timeout(timedelta(seconds=9)).check_health()
    with pytest.raises(CallerError) as error:
        Client(server.address, **names.stranger).describe_user(user_id="nobody")
    assert error.value.reason == "CALLER_UNAUTHENTICATED"


async def test_an_awaited_caller_is_known_by_its_certificate(server: Server, names: Names) -> None:
    async with AsyncClient(server.address, **names.shop) as shop:
        assert not (await shop.describe_user(user_id="nobody")).enrolled


def test_without_trust_nothing_is_said(server: Server, names: Names) -> None:
    other = pem(trustme.CA().cert_pem)
    anonymous: dict[str, Any] = {"tls_ca": names.authority}
    mistrusting: list[dict[str, Any]] = [
        {},
        names.shop | {"tls_ca": other},
    ]
    for options in (*mistrusting, anonymous):
        client = Client(server.address, timeout=timedelta(seconds=5), **options)
        with pytest.raises(UnavailableError) as error:
            client.describe_user(user_id="nobody")
        assert error.value.reason == "UNAVAILABLE"
        assert ("certificate" in str(error.value)) is (options is not anonymous)


def test_what_is_no_key_is_refused_at_once(names: Names) -> None:
    unreadable: dict[str, Any] = names.shop | {"tls_key": b"hunter2"}
    with pytest.raises(RequestError) as error:
        Client("https://127.0.0.1:1", **unreadable)
    assert error.value.reason == "INVALID_REQUEST" and "hunter2" not in str(error.value)
    trusting_nobody: dict[str, Any] = names.shop | {"tls_ca": b"no certificate"}
    with pytest.raises(RequestError, match="no certificate"):
        Client("https://127.0.0.1:1", **trusting_nobody)
    for text in ("tls_ca", "tls_certificate", "tls_key"):
        wrong: dict[str, Any] = {text: "a text"}
        with pytest.raises(TypeError):
            Client("https://127.0.0.1:1", **wrong)

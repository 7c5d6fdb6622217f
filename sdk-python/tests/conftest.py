"""One server with the defaults for all tests that need no other; its address is in the environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twinlock import Client

from .server import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def address(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the server is, for clients that are told nothing."""
    monkeypatch.setenv("TWINLOCK_ADDRESS", server.address)
    monkeypatch.delenv("TWINLOCK_TOKEN", raising=False)
    return server.address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client

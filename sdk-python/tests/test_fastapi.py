"""A real FastAPI application, served by uvicorn, against a real server."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

import httpx2
import pytest
import uvicorn
from fastapi import Depends, FastAPI, Header
from pydantic import BaseModel
from twinlock import (
    AsyncClient,
    BlockedError,
    Client,
    Elevation,
    LoginChannel,
    LoginDecision,
    StateError,
    TwinlockError,
    UnavailableError,
)
from twinlock.fastapi import Identity, Twinlock, failure

from .server import Server
from .user import User


class Code(BaseModel):
    code: str


def application(address: str) -> FastAPI:
    def identity(
        user: Annotated[str, Header()] = "nobody", session: Annotated[str, Header()] = "none"
    ) -> Identity | None:
        return None if user == "visitor" else Identity(user, session)

    twinlock = Twinlock(AsyncClient(address, timeout=timedelta(seconds=2)), identity=identity)
    app = FastAPI()
    twinlock.install(app)

    @app.post("/login")
    async def login(who: Annotated[Identity, Depends(identity)]) -> LoginDecision:
        return await twinlock.client.evaluate_login(
            user_id=who.user_id, channel=LoginChannel.FORM, authorities=["staff"]
        )

    @app.post("/verify")
    async def verify(body: Code, who: Annotated[Identity, Depends(identity)]) -> dict[str, str]:
        done = await twinlock.client.verify(
            user_id=who.user_id, session_id=who.session_id, totp_code=body.code
        )
        return {"method": done.method}

    @app.post("/payout", dependencies=[Depends(twinlock.elevation_required())])
    async def payout() -> dict[str, bool]:
        return {"paid": True}

    fresh = twinlock.elevation_required(max_age=timedelta(seconds=1))

    @app.post("/close")
    def close(elevation: Annotated[Elevation, Depends(fresh)]) -> dict[str, Any]:
        return {"method": elevation.method}

    return app


def serve(app: FastAPI) -> Iterator[httpx2.Client]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as browser:
            yield browser
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def browser(address: str) -> Iterator[httpx2.Client]:
    yield from serve(application(address))


@pytest.fixture
def strict_browser() -> Iterator[httpx2.Client]:
    """Of an application whose users must all enroll."""
    with Server(file='[enforcement]\nmode = "enforce"\nauthorities = ["staff"]\n') as server:
        yield from serve(application(server.address))


@pytest.fixture
def lonely_browser() -> Iterator[httpx2.Client]:
    """Of an application whose server is away."""
    yield from serve(application("http://127.0.0.1:1"))


def test_a_session_is_elevated_by_its_second_step(browser: httpx2.Client, client: Client) -> None:
    user = User(client)
    headers = {"user": user.user_id, "session": "web"}
    refused = browser.post("/payout", headers=headers)
    assert refused.status_code == 403
    assert refused.json()["reason"] == "ELEVATION_REQUIRED"
    assert refused.headers["cache-control"] == "no-store"

    answer = browser.post("/verify", headers=headers, json={"code": user.code()})
    assert answer.json() == {"method": "TOTP"}
    assert browser.post("/payout", headers=headers).json() == {"paid": True}
    assert browser.post("/close", headers=headers).json() == {"method": "TOTP"}
    assert browser.post("/payout", headers=headers | {"session": "other"}).status_code == 403
    time.sleep(1.1)
    assert browser.post("/close", headers=headers).status_code == 403
    assert browser.post("/payout", headers=headers).status_code == 200


def test_failures_are_answers(browser: httpx2.Client, client: Client, caplog: Any) -> None:
    user = User(client)

    def verify(code: str, name: str = user.user_id) -> tuple[int, dict[str, Any], Any]:
        answer = browser.post("/verify", headers={"user": name}, json={"code": code})
        return answer.status_code, answer.json(), answer.headers

    status, body, _ = verify(user.wrong_code())
    assert (status, body["reason"]) == (401, "INVALID_CODE")
    assert verify("12345x")[0] == 400
    half = browser.post(
        "/verify", content=rb'{"code": "\ud83d"}', headers={"content-type": "application/json"}
    )
    assert half.status_code in (400, 422)
    status, body, _ = verify(user.wrong_code())
    status, body, headers = verify(user.code())
    assert (status, body["reason"], headers["retry-after"]) == (429, "BACKOFF", "1")
    assert 0 < body["retryAfterMs"] <= 1000
    status, body, _ = verify("123456", "nobody-at-all")
    assert (status, body["reason"]) == (409, "NOT_ENROLLED")
    assert caplog.text == ""
    status, body, _ = verify("123456", "x" * 256)
    assert (status, body) == (500, {"reason": "INTERNAL", "message": "Something went wrong."})
    assert "no verdict: INVALID_REQUEST" in caplog.text


def test_the_login_learns_what_is_owed_and_why(
    browser: httpx2.Client, strict_browser: httpx2.Client, client: Client
) -> None:
    user = User(client)
    decision = {"decision": "VERIFY", "reason": "ENROLLED", "notify": False}
    answer = browser.post("/login", headers={"user": user.user_id})
    assert answer.json() == decision | {"remind_recovery_key": True}
    client.acknowledge_recovery_key(user_id=user.user_id, recovery_key_create_time=user.key_time)
    answer = browser.post("/login", headers={"user": user.user_id})
    assert answer.json() == decision | {"remind_recovery_key": False}

    answers = [strict_browser.post("/login", headers={"user": "staff"}).json() for _ in range(2)]
    owed = {"decision": "ENROLL", "reason": "ENFORCED", "remind_recovery_key": False}
    assert answers == [owed | {"notify": True}, owed | {"notify": False}]


def test_who_is_nobody_yet_is_refused(browser: httpx2.Client) -> None:
    answer = browser.post("/payout", headers={"user": "visitor"})
    assert (answer.status_code, answer.json()["reason"]) == (403, "ELEVATION_REQUIRED")


def test_without_a_verdict_nobody_passes(lonely_browser: httpx2.Client, caplog: Any) -> None:
    answer = lonely_browser.post("/payout")
    assert (answer.status_code, answer.json()["reason"]) == (503, "UNAVAILABLE")
    assert "127.0.0.1" not in answer.text
    # The operator learns where it was looked for.
    assert "no verdict: UNAVAILABLE" in caplog.text and "127.0.0.1:1" in caplog.text


def test_many_requests_at_once(browser: httpx2.Client, client: Client) -> None:
    user = User(client)
    code = user.code()

    async def ask() -> list[int]:
        async with httpx2.AsyncClient(base_url=browser.base_url, timeout=30) as crowd:
            headers = {"user": user.user_id, "session": "web"}
            asked = (crowd.post("/verify", headers=headers, json={"code": code}) for _ in range(50))
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    statuses = asyncio.run(ask())
    assert statuses.count(200) == 1 and set(statuses) <= {200, 401, 429}


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (BlockedError("", "BACKOFF", "", timedelta(milliseconds=1001)), 429, "2"),
        (BlockedError("", "LOCKED"), 429, None),
        (UnavailableError("", "OVERLOADED", "", timedelta(seconds=1)), 503, "1"),
        (UnavailableError("", "STORE_UNAVAILABLE"), 503, None),
        (StateError("", "NOT_ENROLLED"), 409, None),
        (TwinlockError(), 500, None),
    ],
    ids=lambda value: getattr(value, "reason", None),
)
def test_what_says_how_long_to_wait(
    error: TwinlockError, status: int, retry_after: str | None
) -> None:
    answer = failure(error)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)


def test_an_identity_does_not_print_its_session() -> None:
    assert "s3cret" not in repr(Identity("alice", "s3cret"))

"""What the blocking client adds to the API: options, errors, threads, deadlines, repeats, events, signals."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import twinlock
from twinlock import (
    BlockedError,
    CallerError,
    Client,
    Decision,
    ElevationRequiredError,
    LoginChannel,
    Method,
    ProofError,
    RequestError,
    StateError,
    TwinlockError,
    UnavailableError,
)

from .server import REPOSITORY, Server, bare_environment
from .user import User


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_login_in_two_steps(client: Client) -> None:
    user = User(client)
    login = client.evaluate_login(user_id=user.user_id, channel=LoginChannel.FORM)
    assert (login.decision, login.reason) == (Decision.VERIFY, "ENROLLED")
    assert login.remind_recovery_key

    done = client.verify(user_id=user.user_id, totp_code=user.code(), session_id="web")
    assert done.method is Method.TOTP and done.recovery_key is None
    assert done.elevation is not None
    assert done.elevation == client.check_elevation(user_id=user.user_id, session_id="web")
    lifetime = done.elevation.expire_time - done.elevation.elevate_time
    assert lifetime == timedelta(minutes=10)
    assert done.verify_time.utcoffset() == timedelta(0)
    with pytest.raises(ElevationRequiredError):
        time.sleep(0.01)
        client.check_elevation(
            user_id=user.user_id, session_id="web", max_age=timedelta(milliseconds=1)
        )

    known = client.describe_user(user_id=user.user_id)
    assert known.enrolled and known.recovery_key_create_time == user.key_time
    client.acknowledge_recovery_key(user_id=user.user_id, recovery_key_create_time=user.key_time)
    assert client.describe_user(user_id=user.user_id).recovery_key_acknowledged
    rotated = client.rotate_recovery_key(user_id=user.user_id, session_id="web")
    assert rotated.recovery_key != user.recovery_key
    client.drop_elevation(user_id=user.user_id, session_id="web")


def test_what_is_refused_is_an_exception_of_its_family(client: Client) -> None:
    user = User(client)
    with pytest.raises(ProofError) as wrong:
        client.verify(user_id=user.user_id, totp_code=user.wrong_code())
    assert (wrong.value.reason, wrong.value.code) == ("INVALID_CODE", "UNAUTHENTICATED")
    with pytest.raises(ProofError):
        client.verify(user_id=user.user_id, totp_code=user.wrong_code())
    with pytest.raises(BlockedError) as blocked:
        client.verify(user_id=user.user_id, totp_code=user.code())
    assert blocked.value.retry_after is not None
    assert timedelta(0) < blocked.value.retry_after <= timedelta(seconds=1)
    again = pickle.loads(pickle.dumps(blocked.value))
    assert (type(again), again.args) == (BlockedError, blocked.value.args)
    counter = client.describe_user(user_id=user.user_id).second_factor_backoff
    assert counter.failures == 2 and isinstance(counter.blocked_until, datetime)


FAMILIES = REPOSITORY / "docs" / "sdk-errors.md"


def test_classes_and_reasons_are_those_of_the_table() -> None:
    rows = [line for line in FAMILIES.read_text().splitlines() if line.startswith("| `")]
    names = {row.split("`")[1] for row in rows if "Error`" in row.split("|")[1]}
    classes = {
        name
        for name, value in vars(twinlock).items()
        if isinstance(value, type) and issubclass(value, TwinlockError)
    }
    assert names == classes - {"TwinlockError"}
    assert len(names) == 8


def test_no_secret_is_printed(client: Client) -> None:
    token = "t0ken-that-nobody-sees"
    assert token not in repr(Client("http://127.0.0.1:1", token=token))
    user_id = "printed"
    client.elevate(user_id=user_id, session_id="s", asserted="password")
    pending = client.enroll(user_id=user_id, session_id="s")
    assert pending.secret not in repr(pending) and "svg" not in repr(pending)
    assert pending.secret in pending.otpauth_uri
    user = User(client)
    done = client.verify(user_id=user.user_id, recovery_key=user.recovery_key)
    assert done.recovery_key is not None and done.recovery_key not in repr(done)


def test_the_environment_says_where_and_who(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setenv("TWINLOCK_ADDRESS", server.address)
    assert Client().address == server.address
    assert Client("127.0.0.1:1").address == "127.0.0.1:1"
    monkeypatch.setenv("TWINLOCK_TOKEN", "bad\ntoken")
    with pytest.raises(RequestError) as error:
        Client()
    assert error.value.fields == ("token",)
    monkeypatch.delenv("TWINLOCK_ADDRESS")
    monkeypatch.delenv("TWINLOCK_TOKEN")
    assert Client().address == "http://127.0.0.1:6238"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"address": "ftp://nowhere"}, "address"),
        ({"address": "\ud800"}, "address"),
        ({"token": " blank"}, "token"),
        ({"timeout": timedelta(seconds=-1)}, "timeout"),
        ({"tls_ca": b"PEM"}, "address"),
        ({"address": "https://x", "tls_key": b"PEM"}, "tls_certificate"),
    ],
)
def test_options_that_are_not_of_their_form(options: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as error:
        Client(options.pop("address", None), **options)
    assert error.value.fields == (field,)


def test_arguments_are_named_and_of_their_types(client: Client) -> None:
    call: Callable[..., Any] = client.describe_user
    with pytest.raises(TypeError):
        call("alice")
    for wrong in (7, None, b"alice"):
        with pytest.raises(TypeError):
            call(user_id=wrong)
    evaluate: Callable[..., Any] = client.evaluate_login
    with pytest.raises(TypeError):
        evaluate(user_id="alice", channel=LoginChannel.FORM, authorities="staff")


def test_text_that_cannot_be_sent_is_refused_by_its_field(client: Client) -> None:
    with pytest.raises(RequestError) as error:
        client.describe_user(user_id="\ud800")
    assert error.value.fields == ("user_id",)
    with pytest.raises(ProofError) as malformed:
        client.verify(user_id="alice", totp_code="\ud800")
    assert malformed.value.reason == "MALFORMED_CODE"
    with pytest.raises(RequestError):
        client.verify(user_id="alice", totp_code="123456", recovery_key="x")
    with pytest.raises(RequestError):
        client.acknowledge_recovery_key(
            user_id="alice", recovery_key_create_time=datetime(2026, 1, 1)
        )
    with pytest.raises(RequestError):
        client.check_elevation(user_id="a", session_id="b", max_age=timedelta(seconds=-1))


def test_a_closed_client_says_so(address: str) -> None:
    with Client(address) as client:
        assert client.check_health()
        assert not client.describe_user(user_id="nobody").enrolled
    with pytest.raises(RequestError):
        client.describe_user(user_id="nobody")
    client.close()


def test_sockets_and_tokens() -> None:
    import hashlib
    import tempfile

    token = hashlib.sha256(b"a token").hexdigest()
    caller = f'[[caller]]\nname = "shop"\ntoken_sha256 = "{token}"\n'
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "socket"
        with Server(file=caller, listen=f"unix:{path}"):
            shop = Client(f"unix:{path}", token="a token")
            assert not shop.describe_user(user_id="nobody").enrolled
            with pytest.raises(CallerError) as error:
                Client(f"unix:{path}").describe_user(user_id="nobody")
            assert error.value.reason == "CALLER_UNAUTHENTICATED"
            with pytest.raises(CallerError) as forbidden:
                shop.erase_user(user_id="nobody")
            assert forbidden.value.reason == "CALLER_FORBIDDEN"


def test_a_server_that_is_away_is_unavailable() -> None:
    began = time.monotonic()
    with pytest.raises(UnavailableError) as error:
        Client(closed_port()).describe_user(user_id="alice")
    assert error.value.reason == "UNAVAILABLE" and "twinlock serve" in str(error.value)
    assert time.monotonic() - began < 3


def test_every_call_ends_by_its_deadline() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = Client(
            f"127.0.0.1:{listener.getsockname()[1]}", timeout=timedelta(milliseconds=300)
        )
        for patience, least in ((client, 0.3), (client.with_timeout(timedelta(seconds=0.6)), 0.6)):
            began = time.monotonic()
            with pytest.raises(UnavailableError) as error:
                patience.describe_user(user_id="alice")
            assert error.value.reason == "DEADLINE_EXCEEDED"
            assert least - 0.01 <= time.monotonic() - began < least + 0.5


def test_a_call_outlives_a_restart_of_the_server() -> None:
    with Server() as server:
        client = Client(server.address, timeout=timedelta(seconds=5))
        user = User(client)
        port = server.address.rsplit(":", 1)[1]
        server.restart(listen=f"127.0.0.1:{port}")
        # The old connection is gone; the call has an id, so it is sent again on a new one.
        assert client.verify(user_id=user.user_id, totp_code=user.code()).method is Method.TOTP


def test_a_lost_answer_can_be_asked_for_again(client: Client) -> None:
    user, request_id = User(client), "an-id-of-my-own-4711"
    proof = {"user_id": user.user_id, "recovery_key": user.recovery_key, "request_id": request_id}
    first, second = client.verify(**proof), client.verify(**proof)
    assert first == second and first.recovery_key not in (None, user.recovery_key)
    with pytest.raises(RequestError) as error:
        client.verify(user_id=user.user_id, totp_code=user.code(), request_id=request_id)
    assert error.value.reason == "REQUEST_ID_REUSED"


def test_many_threads_share_one_client(client: Client) -> None:
    user = User(client)
    code = user.code()

    def attempt(number: int) -> str:
        try:
            client.verify(user_id=user.user_id, totp_code=code)
            return "OK"
        except TwinlockError as error:
            return error.reason

    with ThreadPoolExecutor(32) as threads:
        ends = list(threads.map(attempt, range(200)))
    assert ends.count("OK") == 1
    assert set(ends) <= {"OK", "CODE_ALREADY_USED", "BACKOFF"}

    def describe(number: int) -> bool:
        return client.describe_user(user_id=f"{user.user_id}-{number}").enrolled

    with ThreadPoolExecutor(32) as threads:
        assert not any(threads.map(describe, range(500)))


def test_waiting_leaves_the_interpreter_to_others() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = Client(address, timeout=timedelta(seconds=1))
        waiting = threading.Thread(target=lambda: pytest.raises(UnavailableError, ask))

        def ask() -> None:
            client.describe_user(user_id="alice")

        waiting.start()
        turns, last, longest = 0, time.monotonic(), 0.0
        while waiting.is_alive():
            time.sleep(0.001)
            now = time.monotonic()
            turns, longest, last = turns + 1, max(longest, now - last), now
        waiting.join()
        assert turns > 100 and longest < 0.5


def test_ctrl_c_gives_a_call_up() -> None:
    program = """
import signal, socket, sys, time
from datetime import timedelta
from twinlock import Client
# Whoever runs the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
listener = socket.create_server(("127.0.0.1", 0))
client = Client(f"127.0.0.1:{listener.getsockname()[1]}", timeout=timedelta(seconds=60))
print("ready", flush=True)
try:
    client.describe_user(user_id="alice")
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=bare_environment()
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5


def test_events_are_watched(client: Client) -> None:
    with client.watch_events() as events:
        assert not events.missed_events
        user = User(client)
        kinds, last = [], ""
        for event in events:
            if event.user_id == user.user_id:
                kinds.append(event.type)
                last = event.event_id
            if "ENROLLED" in kinds:
                break
        assert kinds[-1] == "ENROLLED" and "ENROLLMENT_STARTED" in kinds
    assert list(events) == []
    client.verify(
        user_id=user.user_id,
        totp_code=user.code(),
        ip_address="192.0.2.7",
        user_agent="a browser",
    )
    with client.watch_events(after_event_id=last) as events:
        event = next(event for event in events if event.user_id == user.user_id)
    assert (event.type, event.method, event.namespace) == ("VERIFIED", Method.TOTP, "default")
    assert (event.ip_address, event.user_agent) == ("192.0.2.7", "a browser")
    assert event.actor_id is None and event.event_time.tzinfo is not None


def test_closing_a_watch_ends_the_thread_that_waits_for_it(address: str) -> None:
    client = Client(address)
    events = client.watch_events()
    # It goes on when its client is closed.
    client.close()
    seen: list[str] = []
    waiting = threading.Thread(target=lambda: seen.extend(event.user_id for event in events))
    waiting.start()
    Client(address).elevate(user_id="watched", session_id="web", asserted="password")
    until = time.monotonic() + 10
    while "watched" not in seen and time.monotonic() < until:
        time.sleep(0.01)
    assert "watched" in seen and waiting.is_alive()
    events.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_client_of_another_patience_is_a_client_of_its_own(address: str) -> None:
    class Named(Client):
        def __init__(self) -> None:
            super().__init__(address)
            self.name = "shop"

    with Named() as client:
        patient = client.with_timeout(timedelta(minutes=1))
        assert type(patient) is Named and patient.name == "shop"
    with pytest.raises(RequestError):
        client.check_health()
    assert patient.check_health()


def test_a_watch_ends_with_the_server() -> None:
    with Server() as server:
        events = Client(server.address).watch_events()
        threading.Timer(0.3, server.stop).start()
        with pytest.raises(UnavailableError):
            next(events)


def test_administrators_and_operators(client: Client) -> None:
    admin, user = User(client), User(client)
    with pytest.raises(StateError) as error:
        client.unenroll_user(
            admin_user_id=admin.user_id, totp_code=admin.code(), user_id=f"{user.user_id}-nobody"
        )
    assert error.value.reason == "USER_NOT_FOUND"
    client.unenroll_user(
        admin_user_id=admin.user_id, totp_code=admin.code(), user_id=user.user_id
    )
    assert not client.describe_user(user_id=user.user_id).enrolled
    issued = client.import_enrollment(
        user_id=user.user_id,
        otpauth_uri=user.app.provisioning_uri(name="alice"),
        issue_recovery_key=True,
    )
    assert issued is not None and issued.recovery_key not in repr(issued)
    client.reset_user(user_id=user.user_id, why="lost everything")
    client.erase_user(user_id=user.user_id)
    with pytest.raises(StateError):
        client.reset_user(user_id=user.user_id, why="lost everything")


def test_nothing_is_left_behind(client: Client) -> None:
    """Neither descriptors nor memory grow with the number of calls."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    client.describe_user(user_id="nobody")
    before = descriptors()
    for _ in range(500):
        client.describe_user(user_id="nobody")
    assert descriptors() <= before

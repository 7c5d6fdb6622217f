"""After a fork: a client goes on working, and nothing hangs."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from twinlock import AsyncClient, Client, UnavailableError

from .server import bare_environment

# Python 3.12 and newer warn of every fork of a process with threads. That it works here is what is tested.
pytestmark = pytest.mark.filterwarnings("default:.*multi-threaded, use of fork:DeprecationWarning")


def in_child(work: Callable[[], None]) -> None:
    """Runs work in a fork of this process, which must end well within some seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + 20
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the fork hangs")
        time.sleep(0.01)


def ask(client: Client) -> None:
    assert not client.describe_user(user_id="nobody").enrolled


def test_a_client_goes_on_working_in_a_fork(client: Client) -> None:
    ask(client)
    for _ in range(20):
        in_child(lambda: ask(client))
        ask(client)


def test_a_client_may_be_dropped_in_a_fork(address: str) -> None:
    client = Client(address)
    ask(client)

    def drop() -> None:
        nonlocal client
        client.close()
        del client
        ask(Client(address))

    in_child(drop)
    ask(client)


def test_a_fork_while_other_threads_are_calling(client: Client) -> None:
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            ask(client)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            in_child(lambda: ask(client))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_an_awaited_client_goes_on_working_in_a_fork(address: str) -> None:
    client = AsyncClient(address)

    async def ask_often() -> None:
        await asyncio.gather(*(client.describe_user(user_id="nobody") for _ in range(50)))

    asyncio.run(ask_often())
    in_child(lambda: asyncio.run(ask_often()))
    asyncio.run(ask_often())


def test_a_watch_ends_in_a_fork_and_goes_on_outside(client: Client) -> None:
    with client.watch_events() as events:

        def watch() -> None:
            with pytest.raises(UnavailableError) as error:
                next(events)
            assert error.value.reason == "UNAVAILABLE" and "forked" in str(error.value)
            with client.watch_events():
                pass

        in_child(watch)
        client.elevate(user_id="after-the-fork", session_id="web", asserted="password")
        assert next(events).type == "ELEVATED"


def test_multiprocessing(client: Client) -> None:
    ask(client)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        answers = pool.map(
            _enrolled, [(client.address, f"nobody-{number}") for number in range(100)]
        )
    assert answers == [False] * 100


def _enrolled(question: tuple[str, str]) -> bool:
    address, user_id = question
    return Client(address).describe_user(user_id=user_id).enrolled


APPLICATION = """
import json, os
from twinlock import Client

# Made, and used, before gunicorn forks.
client = Client()
client.describe_user(user_id="nobody")
MASTER = os.getpid()


def application(environ, start_response):
    known = client.describe_user(user_id="nobody")
    start_response("200 OK", [("content-type", "application/json")])
    body = {"forked": os.getpid() != MASTER, "enrolled": known.enrolled, "worker": os.getpid()}
    return [json.dumps(body).encode()]
"""


def test_gunicorn_with_an_application_that_is_loaded_before_the_fork(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = tmp_path / "log"
    with log.open("wb") as errors:
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "application", "--preload", "--workers", "3"]
            + ["--threads", "2", "--bind", f"127.0.0.1:{port}", "--no-control-socket"],
            cwd=tmp_path,
            env=bare_environment(TWINLOCK_ADDRESS=address),
            stdout=errors,
            stderr=errors,
        )
    try:
        url = f"http://127.0.0.1:{port}/"
        until = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                assert gunicorn.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.05)

        def ask(_: int) -> dict[str, Any]:
            with urllib.request.urlopen(url, timeout=10) as answer:
                said: dict[str, Any] = json.load(answer)
                return said

        workers: set[int] = set()
        with ThreadPoolExecutor(8) as callers:
            # Whoever accepts first may do so time and again, until it has more to do than the others.
            while len(workers) < 2:
                assert time.monotonic() < until
                for said in callers.map(ask, range(100)):
                    assert said["forked"] and said["enrolled"] is False
                    workers.add(said["worker"])
    finally:
        gunicorn.terminate()
        assert gunicorn.wait(20) == 0, log.read_text()


def test_a_program_ends_while_calls_are_under_way() -> None:
    program = """
import asyncio, socket, threading
from twinlock import AsyncClient, Client
listener = socket.create_server(("127.0.0.1", 0))
address = f"127.0.0.1:{listener.getsockname()[1]}"
client = Client(address)
threading.Thread(target=lambda: client.describe_user(user_id="x"), daemon=True).start()

async def main():
    task = asyncio.create_task(AsyncClient(address).describe_user(user_id="x"))
    await asyncio.sleep(0.1)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, "")

"""Measures local verification, the client, and a whole request, each beside what else there is."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b32decode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyotp
import redis
import redis.asyncio
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP as CryptographyTotp
from django_otp.oath import TOTP as DjangoTotp
from fastapi import Depends, FastAPI, HTTPException
from twinlock import AsyncClient, Client, ProofError, _native, totp
from twinlock.fastapi import Identity, Twinlock

from tests.server import Server

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
KEY = b32decode(SECRET)
missed: list[str] = []


def promise(what: str, kept: bool) -> None:
    print(f"  {'kept  ' if kept else 'MISSED'} {what}")
    if not kept:
        missed.append(what)


def best(work: Callable[[], object], times: int, rounds: int = 30) -> float:
    """Nanoseconds a time, in the best of some rounds: the rest is what else the machine does."""
    found = float("inf")
    work()
    gc.disable()
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(times):
            work()
        found = min(found, (time.perf_counter_ns() - began) / times)
    gc.enable()
    return found


def wrong_code() -> str:
    app, now = pyotp.TOTP(SECRET), int(time.time())
    near = {app.at(now + 30 * offset) for offset in range(-20, 21)}
    return next(code for code in map("{:06}".format, range(100)) if code not in near)


def local(bare: str) -> None:
    code = wrong_code()
    number = int(code)
    verify = totp.verify

    def twinlock() -> None:
        try:
            verify(SECRET, code)
        except ProofError:
            pass

    def pyotp_made_anew() -> None:
        pyotp.TOTP(SECRET).verify(code, valid_window=1)

    made = pyotp.TOTP(SECRET)

    def pyotp_kept() -> None:
        made.verify(code, valid_window=1)

    def django_otp() -> None:
        DjangoTotp(KEY, 30, 0, 6, 0).verify(number, tolerance=1)

    cryptography_kept = CryptographyTotp(KEY, 6, SHA1(), 30)
    digits = code.encode()

    def cryptography() -> None:
        now = time.time()
        for offset in (-30, 0, 30):
            try:
                cryptography_kept.verify(digits, int(now) + offset)
            except InvalidToken:
                pass

    floor = best(_native.probe, 20_000) + float(
        subprocess.run([bare, "hmac"], capture_output=True, text=True, check=True).stdout
    )
    ours, kept = best(twinlock, 5_000), best(pyotp_kept, 500)
    print("A wrong code, all three steps, in microseconds:")
    rows = [
        ("an empty PyO3 call plus the HMACs in Rust", floor),
        ("twinlock.totp.verify, raised and caught", ours),
        ("pyotp, object kept", kept),
        ("pyotp, made anew", best(pyotp_made_anew, 500)),
        ("django-otp's oath", best(django_otp, 500)),
        ("cryptography's twofactor, object kept", best(cryptography, 500)),
    ]
    for name, nanoseconds in rows:
        print(f"  {name:<44} {nanoseconds / 1000:8.2f}   {nanoseconds / ours:6.1f}")
    promise(f"{kept / ours:.0f} times as fast as pyotp (at least 50)", kept / ours >= 50)
    promise(f"{ours / floor:.2f} times the floor (at most 1.5)", ours / floor <= 1.5)


def client(bare: str) -> None:
    count = 20_000
    with Server() as server:
        command = [bare, "calls", server.address, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rust = float(done.stdout)
        with Client(server.address) as blocking:
            for _ in range(1000):
                blocking.describe_user(user_id="nobody")
            before = time.process_time()
            for _ in range(count):
                blocking.describe_user(user_id="nobody")
            python = (time.process_time() - before) / count * 1e6
        awaited = asyncio.run(one_by_one(server.address, count))
        busy, waited, many = asyncio.run(thousand(server.address))
    print("A call (DescribeUser) to a server, in microseconds of the client's processor time:")
    print(f"  {'bare Rust client':<44} {rust:8.1f}")
    print(f"  {'Client':<44} {python:8.1f}")
    print(f"  {'AsyncClient, one after the other':<44} {awaited:8.1f}")
    print(f"  {'AsyncClient, 1,000 at once':<44} {many:8.1f}")
    print("The longest turn of the event loop during 1,000 concurrent calls, in milliseconds:")
    print(f"  {'of its own work':<44} {busy * 1000:8.2f}")
    print(f"  {'on the clock':<44} {waited * 1000:8.2f}")
    for name, over in (("Client", python - rust), ("AsyncClient", awaited - rust)):
        promise(f"{name}: {over:.0f} µs over the bare client (under 60)", over < 60)
    promise(f"the loop is never blocked for more than {busy * 1000:.1f} ms (5)", busy < 0.005)


async def one_by_one(address: str, count: int) -> float:
    async with AsyncClient(address) as client:
        for _ in range(1000):
            await client.describe_user(user_id="nobody")
        before = time.process_time()
        for _ in range(count):
            await client.describe_user(user_id="nobody")
        return (time.process_time() - before) / count * 1e6


async def thousand(address: str) -> tuple[float, float, float]:
    """All thousand calls begin in one turn of the loop."""
    busy, waited, stop = 0.0, 0.0, False

    async def watch() -> None:
        nonlocal busy, waited
        while not stop:
            worked, began = time.thread_time(), time.perf_counter()
            await asyncio.sleep(0.0005)
            busy = max(busy, time.thread_time() - worked)
            waited = max(waited, time.perf_counter() - began)

    async with AsyncClient(address, timeout=timedelta(minutes=1)) as client:

        async def ask(number: int) -> None:
            for _ in range(5):
                await client.describe_user(user_id=f"nobody-{number}")

        await ask(0)
        gc.collect()
        gc.disable()
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0.01)
        before = time.process_time()
        await asyncio.gather(*(ask(number) for number in range(1000)))
        used = (time.process_time() - before) / 5000 * 1e6
        stop = True
        await watcher
        gc.enable()
    return busy, waited, used


USERS = 2000


@contextmanager
def redis_server() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        command = ["redis-server", "--port", str(port), "--dir", directory, "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            connection = redis.Redis(port=port)
            for _ in range(200):
                try:
                    connection.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


Application = Callable[[dict[str, Any], Callable[..., Awaitable[Any]], Any], Awaitable[None]]


async def post(app: Application, path: str, user: str) -> int:
    """One request to an application, without a network in between."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"user={user}&code={APPS[user].now()}".encode(),
        "headers": [(b"host", b"bench")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return status


APPS: dict[str, pyotp.TOTP] = {}


async def crowd(app: Application) -> tuple[float, float]:
    """Each user logs in once, fifty at a time: requests a second, and the median in milliseconds."""
    waiting, times = iter(list(APPS)), []

    async def browser() -> None:
        for user in waiting:
            began = time.perf_counter()
            assert await post(app, "/verify", user) == 200
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(browser() for _ in range(50)))
    return len(times) / (time.perf_counter() - began), statistics.median(times) * 1000


def product(client: AsyncClient) -> FastAPI:
    def identity(user: str) -> Identity:
        return Identity(user, f"{user}-session")

    twinlock, app = Twinlock(client, identity=identity), FastAPI()
    twinlock.install(app)

    @app.post("/verify")
    async def verify(code: str, who: Identity = Depends(identity)) -> dict[str, bool]:
        await client.verify(user_id=who.user_id, session_id=who.session_id, totp_code=code)
        return {"verified": True}

    return app


def by_hand(connection: redis.asyncio.Redis) -> FastAPI:
    """What a careful product writes by itself: a wait after failures, and each code once."""
    app = FastAPI()

    @app.post("/verify")
    async def verify(user: str, code: str) -> dict[str, bool]:
        if await connection.exists(f"blocked:{user}"):
            raise HTTPException(429)
        secret = await connection.get(f"secret:{user}")
        if not pyotp.TOTP(secret).verify(code, valid_window=1):
            failures = await connection.incr(f"failures:{user}")
            if failures > 1:
                wait = min(2 ** (failures - 2), 3600)
                await connection.set(f"blocked:{user}", 1, ex=wait)
            raise HTTPException(401)
        if not await connection.set(f"used:{user}:{code}", 1, nx=True, ex=90):
            raise HTTPException(401)
        await connection.delete(f"failures:{user}")
        await connection.set(f"elevated:{user}", 1, ex=600)
        return {"verified": True}

    return app


def whole() -> None:
    for number in range(USERS):
        secret = pyotp.random_base32()
        APPS[f"user-{number}"] = pyotp.TOTP(secret)

    async def with_server(address: str) -> tuple[float, float]:
        async with AsyncClient(address, timeout=timedelta(seconds=30)) as client:
            await asyncio.gather(
                *(
                    client.import_enrollment(
                        user_id=user, otpauth_uri=app.provisioning_uri(name=user)
                    )
                    for user, app in APPS.items()
                )
            )
            return await crowd(product(client))

    async def without(url: str) -> tuple[float, float]:
        connection = redis.asyncio.Redis.from_url(url, decode_responses=True)
        for user, app in APPS.items():
            await connection.set(f"secret:{user}", app.secret)
        try:
            return await crowd(by_hand(connection))
        finally:
            await connection.aclose()

    rows = []
    with Server() as server:
        rows.append(("FastAPI + Twinlock, in a file, synced", asyncio.run(with_server(server.address))))
    with redis_server() as url:
        store = f'[store]\nkind = "redis"\n[store.redis]\nurls = ["{url}"]\n'
        with Server(file=store) as server:
            rows.append(("FastAPI + Twinlock, in Redis", asyncio.run(with_server(server.address))))
    with redis_server() as url:
        rows.append(("DIY: FastAPI + pyotp + redis-py", asyncio.run(without(url))))
    print(f"A login's second step, {USERS} users, 50 at a time (requests a second; median in ms):")
    for name, (rate, median) in rows:
        print(f"  {name:<44} {rate:8.0f} {median:8.1f}")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    local(sys.argv[1])
    client(sys.argv[1])
    whole()
    sys.exit(1 if missed else 0)

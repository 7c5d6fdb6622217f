"""Measures local verification, the client, and a whole request, each beside what else there is.

Rows that are compared take turns, and what is compared is what they are to each other in the same turn: the median
over all turns. Counted is processor time, which stands still while other processes have the core.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import sys
import time
from base64 import b32decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import python_floor
import pyotp
import redis.asyncio
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP as CryptographyTotp
from django_otp.oath import TOTP as DjangoTotp
from fastapi import Depends, FastAPI, HTTPException
from twinlock import AsyncClient, Client, ProofError, totp
from twinlock.fastapi import Identity, Twinlock

from tests.loop import Turn, longest_turn, without_collector
from tests.server import Server

ROUNDS = 11
Times = dict[str, list[float]]


@dataclass
class Target:
    what: str
    met: bool
    not_ours: str | None
    """Why nothing in the package could meet it, where that is so."""


targets: list[Target] = []


def target(what: str, met: bool, not_ours: str | None = None) -> None:
    targets.append(Target(what, met, None if met else not_ours))


def turns(rows: dict[str, tuple[int, Callable[[int], object]]]) -> Times:
    """Microseconds of processor time for each row, in each round; a row does its work so many times in a turn."""
    times: Times = {name: [] for name in rows}
    for _name, (count, work) in rows.items():
        work(count)
    for _ in range(ROUNDS):
        for name, (count, work) in rows.items():
            with without_collector():
                before = time.process_time()
                work(count)
                times[name].append((time.process_time() - before) / count * 1e6)
    return times


def middle(times: list[float]) -> str:
    return f"{statistics.median(times):9.2f}  [{min(times):.2f} .. {max(times):.2f}]"


def compared(times: Times, one: str, other: str, how: Callable[[float, float], float]) -> float:
    return statistics.median(map(how, times[one], times[other]))


def ratio(times: Times, one: str, other: str) -> float:
    return compared(times, one, other, lambda one, other: one / other)


def table(times: Times) -> None:
    for name, all_times in times.items():
        print(f"  {name:<42} {middle(all_times)}")


def local() -> None:
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    key = b32decode(secret)
    near = {pyotp.TOTP(secret).at(int(time.time()) + 30 * offset) for offset in range(-2, 60)}
    code = next(code for code in map("{:06}".format, range(100)) if code not in near)

    def floor_(times: int) -> None:
        verify, now = python_floor.verify, int(time.time())
        for _ in range(times):
            if verify(secret, code, now):
                raise AssertionError

    def twinlock(times: int) -> None:
        verify = totp.verify
        for _ in range(times):
            try:
                verify(secret, code)
            except ProofError:
                continue
            raise AssertionError

    def pyotp_(times: int) -> None:
        for _ in range(times):
            if pyotp.TOTP(secret).verify(code, valid_window=1):
                raise AssertionError

    def pyotp_kept(times: int) -> None:
        kept = pyotp.TOTP(secret)
        for _ in range(times):
            if kept.verify(code, valid_window=1):
                raise AssertionError

    def django_otp(times: int) -> None:
        number = int(code)
        for _ in range(times):
            if DjangoTotp(key).verify(number, tolerance=1):
                raise AssertionError

    def cryptography(times: int) -> None:
        digits, sha1 = code.encode(), SHA1()
        for _ in range(times):
            made, now = CryptographyTotp(key, 6, sha1, 30), int(time.time())
            for offset in (0, -30, 30):
                try:
                    made.verify(digits, now + offset)
                except InvalidToken:
                    continue
                raise AssertionError

    print("A wrong code against all three steps, microseconds of processor time:")
    times = turns(
        {
            "floor: an empty PyO3 call and the HMACs": (40_000, floor_),
            "twinlock, raised and caught": (40_000, twinlock),
            "pyotp": (1_000, pyotp_),
            "pyotp, its object kept": (1_000, pyotp_kept),
            "django-otp's oath": (1_000, django_otp),
            "cryptography's twofactor": (1_000, cryptography),
        }
    )
    table(times)
    least, ours, *_ = times
    over = ratio(times, ours, least)
    faster, at_most = ratio(times, "pyotp", ours), ratio(times, "pyotp", least)
    target(
        f"a wrong code is refused {faster:.0f} times as fast as by pyotp (at least 50)",
        faster >= 50,
        f"out of reach, the floor itself is {at_most:.0f} times as fast" if at_most < 50 else None,
    )
    target(f"in {over:.2f} times the time of the floor (at most 1.5)", over <= 1.5)


def client() -> None:
    count = 1_500

    def awaited(times: int) -> None:
        async def calls() -> None:
            async with AsyncClient(server.address) as client:
                for _ in range(times):
                    await client.describe_user(user_id="nobody")

        asyncio.run(calls())

    def blocking(times: int) -> None:
        with Client(server.address) as client:
            for _ in range(times):
                client.describe_user(user_id="nobody")

    def bare(times: int) -> None:
        python_floor.describe_user(server.address, times)

    rows = {"the bare Rust client": (count, bare), "Client": (count, blocking), "AsyncClient": (count, awaited)}
    cores = os.sched_getaffinity(0)
    over: dict[str, list[float]] = {"Client": [], "AsyncClient": []}
    print("A call of DescribeUser, one after the other, microseconds of the client's processor time:")
    # To wake a thread on another core takes longer than all the rest, and where they run is the kernel's choice.
    for where, some in {"on one core": {min(cores)}, "wherever the kernel puts the threads": cores}.items():
        run_on(some)
        with Server() as server:
            times = turns(rows)
            # Of the last placement, which is everybody's.
            crowds = [asyncio.run(thousand(server.address)) for _ in range(ROUNDS)]
        print(f" {where}")
        table(times)
        for name, all_over in over.items():
            all_over.append(compared(times, name, "the bare Rust client", lambda one, other: one - other))
    for name, (one, free) in over.items():
        what = f"{name} takes {one:.1f} µs a call over the bare client on one core, {free:.1f} on all (under 60)"
        target(what, max(one, free) < 60)
    print("The longest turn of an event loop on which 1,000 calls begin at once, milliseconds:")
    busy, clock = ([getattr(turn, kind) * 1000 for turn in crowds] for kind in ("busy", "clock"))
    table({"processor time": busy, "by the clock, with what else the machine does": clock})
    target(f"an event loop works for {max(busy):.1f} ms at most in one turn (5)", max(busy) <= 5)
    target(
        f"and is held up for {max(clock):.1f} ms at most by the clock (5)",
        max(clock) <= 5,
        "it did not run meanwhile, the cores were taken" if max(busy) <= 5 else None,
    )


def run_on(cores: set[int]) -> None:
    """Keeps all threads of this process, and what it starts from now on, to some cores."""
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


async def thousand(address: str) -> Turn:
    async with AsyncClient(address, timeout=timedelta(minutes=1)) as client:
        await client.describe_user(user_id="nobody")
        async with longest_turn() as longest:
            await asyncio.gather(
                *(client.describe_user(user_id=f"nobody-{number}") for number in range(1000))
            )
    return longest


USERS_A_ROUND = 300
AT_ONCE = 64
Application = Callable[[dict[str, Any], Callable[..., Awaitable[Any]], Any], Awaitable[None]]
Users = dict[str, pyotp.TOTP]


async def post(app: Application, user: str, code: str) -> int:
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
        "path": "/verify",
        "raw_path": b"/verify",
        "query_string": f"user={user}&code={code}".encode(),
        "headers": [(b"host", b"bench")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return status


async def crowd(app: Application, users: Users) -> tuple[float, float]:
    """Each user logs in once, some at a time: microseconds of processor time, and the median of what one waits,
    in milliseconds."""
    codes = iter([(user, made.now()) for user, made in users.items()])
    waits: list[float] = []

    async def browser() -> None:
        for user, code in codes:
            began = time.perf_counter()
            assert await post(app, user, code) == 200
            waits.append(time.perf_counter() - began)

    with without_collector():
        before = time.process_time()
        await asyncio.gather(*(browser() for _ in range(AT_ONCE)))
        used = time.process_time() - before
    return used / len(users) * 1e6, statistics.median(waits) * 1000


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


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def used_by(*processes: int) -> float:
    """Seconds of processor time that the threads of some processes have used so far."""
    tasks = [task for process in processes for task in Path(f"/proc/{process}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def whole() -> None:
    with Server() as in_file, Server(redis=True) as in_redis:
        other = redis.asyncio.Redis(
            unix_socket_path=f"{in_redis.directory}/redis.sock", db=1, decode_responses=True
        )
        store = int((await other.info("server"))["process_id"])
        clients = [AsyncClient(server.address, timeout=timedelta(minutes=1)) for server in (in_file, in_redis)]
        rows = {
            "FastAPI + twinlock, in a file, synced": (product(clients[0]), [in_file.process.pid]),
            "FastAPI + twinlock, in Redis": (product(clients[1]), [in_redis.process.pid, store]),
            "DIY: FastAPI + pyotp + redis-py": (by_hand(other), [store]),
        }
        application: Times = {name: [] for name in rows}
        behind: Times = {name: [] for name in rows}
        waits: Times = {name: [] for name in rows}
        # The first round only warms up.
        for turn in range(ROUNDS + 1):
            users = {f"user-{turn}-{number}": pyotp.TOTP(pyotp.random_base32()) for number in range(USERS_A_ROUND)}
            for user, made in users.items():
                await other.set(f"secret:{user}", made.secret)
                for client in clients:
                    await client.import_enrollment(user_id=user, otpauth_uri=made.provisioning_uri(name=user))
            for name, (app, processes) in rows.items():
                before = used_by(*processes)
                used, wait = await crowd(app, users)
                if turn > 0:
                    application[name].append(used)
                    behind[name].append((used_by(*processes) - before) / len(users) * 1e6)
                    waits[name].append(wait)
        await other.aclose()
    print(f"The second step of a login, {AT_ONCE} at a time, microseconds of processor time:")
    print(" in the application")
    table(application)
    print(" in what is behind it: the server, and Redis where it has one")
    table(behind)
    print(" and what one waits for it, milliseconds")
    table(waits)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load average {load()}")
    local()
    client()
    asyncio.run(whole())
    print(f"The targets, at the end with a load average of {load()}:")
    for each in targets:
        why = f": {each.not_ours}" if each.not_ours else ""
        print(f"  {'met   ' if each.met else 'MISSED'} {each.what}{why}")
    sys.exit(1 if any(not each.met and not each.not_ours for each in targets) else 0)

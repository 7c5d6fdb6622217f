"""What the awaited client adds to the API: cancelling, event loops, and that it never holds one up."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
import twinlock
import uvloop
from twinlock import (
    AsyncClient,
    Client,
    Method,
    ProofError,
    RequestError,
    TwinlockError,
    UnavailableError,
)

from .loop import longest_turn
from .server import Server
from .user import User


def test_both_clients_have_the_same_calls() -> None:
    names = {name for name in vars(Client) if not name.startswith("_")}
    assert names == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in names - {"address", "with_timeout"}:
        blocking, awaited = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.iscoroutinefunction(awaited), name
        one, two = inspect.signature(blocking), inspect.signature(awaited)
        assert one.parameters == two.parameters, name
        kinds = ("EventStream", "AsyncEventStream")
        assert (one.return_annotation == two.return_annotation) or (
            (one.return_annotation, two.return_annotation) == kinds
        ), name
    options = [inspect.signature(kind.__init__) for kind in (Client, AsyncClient)]
    assert options[0] == options[1]


async def test_a_login_in_two_steps(client: Client, address: str) -> None:
    user = User(client)
    async with AsyncClient() as awaited:
        done = await awaited.verify(user_id=user.user_id, totp_code=user.code())
        assert done.method is Method.TOTP
        with pytest.raises(ProofError) as error:
            await awaited.verify(user_id=user.user_id, totp_code=user.wrong_code())
        assert error.value.reason == "INVALID_CODE"
        assert await awaited.check_health()
    with pytest.raises(RequestError):
        await awaited.describe_user(user_id="nobody")


class Silence:
    """A server that takes connections and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def until_hung_up(self) -> None:
        """Waits until the one who has connected has gone away again."""
        self._listener.settimeout(10)
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            while connection.recv(4096):
                pass

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


async def test_cancelling_a_task_cancels_its_call() -> None:
    with Silence() as silence:
        client = AsyncClient(silence.address, timeout=timedelta(minutes=1))
        task = asyncio.create_task(client.describe_user(user_id="alice"))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.describe_user(user_id="alice"), 0.1)
        assert time.monotonic() - began < 1
        # A call that went on would hold the connection for its minute.
        await client.close()
        await asyncio.to_thread(silence.until_hung_up)


async def test_a_cancelled_call_leaves_no_answer_to_the_next(client: Client, address: str) -> None:
    user = User(client)
    async with AsyncClient(address) as awaited:

        async def ask(number: int) -> None:
            """Half of the calls are given up at a random moment; the others get their own answer."""
            known = number % 4 == 1
            asked = user.user_id if known else f"nobody-{number}"
            call = asyncio.create_task(awaited.describe_user(user_id=asked))
            if number % 2 == 0:
                await asyncio.sleep(number % 7 / 2000)
                call.cancel()
            try:
                answer = await call
            except asyncio.CancelledError:
                return
            assert answer.enrolled is known

        await asyncio.gather(*(ask(number) for number in range(400)))


async def test_calls_that_wait_for_their_turn_get_their_own_answers_or_never_start(
    client: Client, address: str
) -> None:
    user = User(client)
    async with AsyncClient(address) as awaited:
        asked = [user.user_id if number % 2 else f"nobody-{number}" for number in range(200)]
        calls = [asyncio.create_task(awaited.describe_user(user_id=name)) for name in asked]
        # All have begun, and most of them wait.
        await asyncio.sleep(0)
        for call in calls[100:]:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(end, "enrolled", end) for end in ends[:100]] == [False, True] * 50
        assert all(isinstance(end, asyncio.CancelledError) for end in ends[100:])
        # The turns go on.
        assert (await awaited.describe_user(user_id=user.user_id)).enrolled


async def test_a_client_that_is_closed_leaves_no_call_waiting_for_its_turn(address: str) -> None:
    awaited = AsyncClient(address)
    calls = [asyncio.create_task(awaited.describe_user(user_id="nobody")) for _ in range(200)]
    await asyncio.sleep(0)
    await awaited.close()
    ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    assert all(isinstance(end, (TwinlockError, twinlock.User)) for end in ends)


async def test_a_thousand_calls_at_once_never_hold_the_loop_up(address: str) -> None:
    async with AsyncClient(address, timeout=timedelta(seconds=60)) as client:

        async def ask(number: int) -> None:
            for _ in range(3):
                await client.describe_user(user_id=f"nobody-{number}")

        await ask(0)
        async with longest_turn() as longest:
            tasks = []
            for number in range(1000):
                tasks.append(asyncio.create_task(ask(number)))
                # Requests come in by fifties.
                if number % 50 == 49:
                    await asyncio.sleep(0)
            await asyncio.gather(*tasks)
    # The client answers for the time of the loop's own thread. The other is shared with the server and whatever else
    # runs here, and bounded only roughly.
    assert longest.busy < 0.005, f"the loop was held up for {longest.busy * 1000:.1f} ms"
    assert longest.clock < 0.25, f"the loop waited for {longest.clock * 1000:.0f} ms"


def test_one_client_serves_many_loops(address: str) -> None:
    client = AsyncClient(address)

    async def ask() -> int:
        answers = (client.describe_user(user_id=f"nobody-{number}") for number in range(50))
        return sum(answer.enrolled for answer in await asyncio.gather(*answers))

    ends: list[int] = []
    threads = [threading.Thread(target=lambda: ends.append(asyncio.run(ask()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [0] * 8
    for _ in range(20):
        assert asyncio.run(ask()) == 0


def test_uvloop(address: str) -> None:
    async def main() -> bool:
        async with AsyncClient(address) as client:
            await asyncio.gather(*(client.describe_user(user_id="x") for _ in range(200)))
            task = asyncio.create_task(client.describe_user(user_id="x"))
            await asyncio.sleep(0)
            task.cancel()
            return await client.check_health()

    assert uvloop.run(main())


async def test_events_are_watched(client: Client, address: str) -> None:
    async with AsyncClient(address) as awaited:
        async with await awaited.watch_events() as events:
            assert not events.missed_events
            with pytest.raises(asyncio.TimeoutError):
                # Giving up on the next event loses none.
                await asyncio.wait_for(quiet(events), 0.2)
            user = await asyncio.to_thread(User, client)
            seen = []
            async for event in events:
                if event.user_id == user.user_id:
                    seen.append(event.type)
                if "ENROLLED" in seen:
                    break
            assert "ENROLLMENT_STARTED" in seen
        assert [event async for event in events] == []


async def quiet(events: Any) -> None:
    """Takes events for ever."""
    async for _ in events:
        pass


async def test_closing_a_watch_ends_whoever_waits_for_it(address: str) -> None:
    async with AsyncClient(address) as awaited:
        events = await awaited.watch_events()
        waiting = [asyncio.create_task(quiet(events)) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        await events.close()
        await asyncio.wait_for(asyncio.gather(*waiting), 10)


async def test_a_watch_ends_with_the_server() -> None:
    with Server() as server:
        events = await AsyncClient(server.address).watch_events()
        ended = asyncio.create_task(quiet(events))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.stop)
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(ended, 10)


async def test_errors_come_out_of_groups_of_tasks_as_they_are(address: str) -> None:
    async with AsyncClient(address) as client:
        ends = await asyncio.gather(
            client.verify(user_id="nobody", totp_code="123456"),
            client.verify(user_id="nobody", totp_code="x"),
            client.describe_user(user_id=""),
            return_exceptions=True,
        )
    reasons = [end.reason for end in ends if isinstance(end, TwinlockError)]
    assert reasons == ["NOT_ENROLLED", "MALFORMED_CODE", "INVALID_REQUEST"]

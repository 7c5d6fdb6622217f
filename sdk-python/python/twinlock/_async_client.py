"""The client whose calls are awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from . import _answers as answers
from . import _native
from ._connected import Connected
from ._results import (
    ConfirmedEnrollment,
    Elevated,
    Elevation,
    Event,
    LoginChannel,
    LoginDecision,
    PendingEnrollment,
    RecoveryKey,
    User,
    Verification,
)

T = TypeVar("T")
A = TypeVar("A", bound="AsyncClient")

#: How many calls start in one turn of an event loop. To start one takes some microseconds of its thread: a
#: thousand at once would hold up everything else for too long.
_STARTS = 16


class _Turns:
    """Where the answers to one event loop arrive, and whose call may start when: first come, first served."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # It must not keep the loop, by which it is known.
        self._mailbox = _native.Mailbox()
        self._left = _STARTS
        self._is_over = True
        self._waiting: deque[tuple[_native.Call[Any], asyncio.Future[Any]]] = deque()
        loop.add_reader(self._mailbox.fileno(), self._mailbox.deliver)

    def start(self, call: _native.Call[T], future: asyncio.Future[T]) -> None:
        if self._left == 0 or self._waiting:
            self._waiting.append((call, future))
            return
        call.start(self._mailbox, future)
        self._take()

    def _take(self) -> None:
        self._left -= 1
        if self._is_over:
            self._is_over = False
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._left = _STARTS
        self._is_over = True
        while self._left > 0 and self._waiting:
            call, future = self._waiting.popleft()
            # Who gave up meanwhile needs no call.
            if future.done():
                continue
            self._take()
            try:
                call.start(self._mailbox, future)
            except Exception as error:
                future.set_exception(error)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


async def _answer(call: _native.Call[T]) -> T:
    """Sends a call and waits for the answer. Cancelling the task gives the call up."""
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = _Turns(loop)
    future: asyncio.Future[T] = loop.create_future()
    turns.start(call, future)
    try:
        return await future
    finally:
        call.cancel()


class AsyncClient(Connected):
    """A client of a Twinlock server for asyncio (and uvloop). Its options and calls are those of
    :class:`twinlock.Client`.

    Cancelling a task cancels its call. One client may be used from several event loops.

    >>> import asyncio
    >>> from twinlock import AsyncClient
    >>> async def main():
    ...     async with AsyncClient() as client:
    ...         return await client.describe_user(user_id="nobody")
    >>> asyncio.run(main()).enrolled
    False
    """

    async def close(self) -> None:
        """Ends the use of this client: later calls raise :class:`RequestError`. Calls and watches that are under way
        go on, and the connection is closed after the last of them."""
        self._connection.close()

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def evaluate_login(
        self,
        *,
        user_id: str,
        channel: LoginChannel,
        authorities: Iterable[str] = (),
        resource: str | None = None,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> LoginDecision:
        """As :meth:`twinlock.Client.evaluate_login`."""
        return answers.login(await _answer(self._connection.evaluate_login(user_id, answers.texts(authorities), channel, resource, request_id, ip_address, user_agent)))

    async def verify(
        self,
        *,
        user_id: str,
        totp_code: str | None = None,
        recovery_key: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> Verification:
        """As :meth:`twinlock.Client.verify`."""
        return answers.verification(await _answer(self._connection.verify(user_id, session_id, totp_code, recovery_key, request_id, ip_address, user_agent)))

    async def elevate(
        self,
        *,
        user_id: str,
        session_id: str,
        totp_code: str | None = None,
        recovery_key: str | None = None,
        password: str | None = None,
        password_hash: str | None = None,
        asserted: str | None = None,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> Elevated:
        """As :meth:`twinlock.Client.elevate`."""
        return answers.elevated(await _answer(self._connection.elevate(user_id, session_id, totp_code, recovery_key, password, password_hash, asserted, request_id, ip_address, user_agent)))

    async def check_elevation(
        self,
        *,
        user_id: str,
        session_id: str,
        max_age: timedelta | None = None,
    ) -> Elevation:
        """As :meth:`twinlock.Client.check_elevation`."""
        return answers.elevation(await _answer(self._connection.check_elevation(user_id, session_id, max_age)))

    async def drop_elevation(
        self,
        *,
        user_id: str,
        session_id: str | None = None,
        all_sessions: bool = False,
    ) -> None:
        """As :meth:`twinlock.Client.drop_elevation`."""
        await _answer(self._connection.drop_elevation(user_id, session_id, all_sessions))

    async def enroll(
        self,
        *,
        user_id: str,
        session_id: str,
        account_name: str | None = None,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> PendingEnrollment:
        """As :meth:`twinlock.Client.enroll`."""
        return answers.pending(await _answer(self._connection.enroll(user_id, session_id, account_name, request_id, ip_address, user_agent)))

    async def confirm_enrollment(
        self,
        *,
        user_id: str,
        session_id: str,
        totp_code: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> ConfirmedEnrollment:
        """As :meth:`twinlock.Client.confirm_enrollment`."""
        return answers.confirmed(await _answer(self._connection.confirm_enrollment(user_id, session_id, totp_code, request_id, ip_address, user_agent)))

    async def unenroll(
        self,
        *,
        user_id: str,
        session_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        """As :meth:`twinlock.Client.unenroll`."""
        await _answer(self._connection.unenroll(user_id, session_id, request_id, ip_address, user_agent))

    async def describe_user(
        self,
        *,
        user_id: str,
    ) -> User:
        """As :meth:`twinlock.Client.describe_user`."""
        return answers.user(await _answer(self._connection.describe_user(user_id)))

    async def rotate_recovery_key(
        self,
        *,
        user_id: str,
        session_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> RecoveryKey:
        """As :meth:`twinlock.Client.rotate_recovery_key`."""
        return answers.rotated(await _answer(self._connection.rotate_recovery_key(user_id, session_id, request_id, ip_address, user_agent)))

    async def acknowledge_recovery_key(
        self,
        *,
        user_id: str,
        recovery_key_create_time: datetime,
    ) -> None:
        """As :meth:`twinlock.Client.acknowledge_recovery_key`."""
        await _answer(self._connection.acknowledge_recovery_key(user_id, recovery_key_create_time))

    async def set_password(
        self,
        *,
        user_id: str,
        password: str | None = None,
        password_hash: str | None = None,
    ) -> None:
        """As :meth:`twinlock.Client.set_password`."""
        await _answer(self._connection.set_password(user_id, password, password_hash))

    async def clear_password(
        self,
        *,
        user_id: str,
    ) -> None:
        """As :meth:`twinlock.Client.clear_password`."""
        await _answer(self._connection.clear_password(user_id))

    async def unenroll_user(
        self,
        *,
        admin_user_id: str,
        totp_code: str,
        user_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        """As :meth:`twinlock.Client.unenroll_user`."""
        await _answer(self._connection.unenroll_user(admin_user_id, totp_code, user_id, request_id, ip_address, user_agent))

    async def clear_backoff(
        self,
        *,
        admin_user_id: str,
        totp_code: str,
        user_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        """As :meth:`twinlock.Client.clear_backoff`."""
        await _answer(self._connection.clear_backoff(admin_user_id, totp_code, user_id, request_id, ip_address, user_agent))

    async def import_enrollment(
        self,
        *,
        user_id: str,
        otpauth_uri: str,
        issue_recovery_key: bool = False,
        request_id: str | None = None,
    ) -> RecoveryKey | None:
        """As :meth:`twinlock.Client.import_enrollment`."""
        return answers.issued(await _answer(self._connection.import_enrollment(user_id, otpauth_uri, issue_recovery_key, request_id)))

    async def erase_user(
        self,
        *,
        user_id: str,
        request_id: str | None = None,
    ) -> None:
        """As :meth:`twinlock.Client.erase_user`."""
        await _answer(self._connection.erase_user(user_id, request_id))

    async def reset_user(
        self,
        *,
        user_id: str,
        why: str,
        request_id: str | None = None,
    ) -> None:
        """As :meth:`twinlock.Client.reset_user`."""
        await _answer(self._connection.reset_user(user_id, why, request_id))

    async def check_health(
        self,
        *,
        service: str = "",
    ) -> bool:
        """As :meth:`twinlock.Client.check_health`."""
        return await _answer(self._connection.check_health(service))

    async def watch_events(self, *, after_event_id: str | None = None) -> AsyncEventStream:
        """As :meth:`twinlock.Client.watch_events`: ``async for event in await client.watch_events()``."""
        return AsyncEventStream(await _answer(self._connection.watch_events(after_event_id)))


class AsyncEventStream:
    """Events as they happen: an asynchronous iterator, and a context manager that ends the watch."""

    def __init__(self, watch: _native.Watch) -> None:
        self._watch: _native.Watch | None = watch
        self._missed_events = watch.missed_events

    @property
    def missed_events(self) -> bool:
        """Whether events after the one that was named are no longer kept, so that some are missing."""
        return self._missed_events

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        watch = self._watch
        event = None if watch is None else await _answer(watch.next())
        if event is None:
            raise StopAsyncIteration
        return answers.event(event)

    async def close(self) -> None:
        """Ends the watch, also for whoever waits for its next event."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    async def __aenter__(self) -> AsyncEventStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

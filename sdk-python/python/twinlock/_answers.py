"""What both clients make of their arguments and of answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeAlias

from . import _native
from ._results import (
    ConfirmedEnrollment,
    Decision,
    Elevated,
    Elevation,
    Event,
    FailureCounter,
    LoginDecision,
    Method,
    PendingEnrollment,
    RecoveryKey,
    User,
    Verification,
)

DEFAULT_ADDRESS = "http://127.0.0.1:6238"
DEFAULT_TIMEOUT = timedelta(seconds=5)

# What the native half gives and takes.
ElevationTuple: TypeAlias = tuple[str, datetime, datetime]
KeyTuple: TypeAlias = tuple[str | None, datetime | None]
CounterTuple: TypeAlias = tuple[int, datetime | None]
UserTuple: TypeAlias = tuple[
    bool, datetime | None, datetime | None, datetime | None, bool, bool, CounterTuple, CounterTuple
]
TextsTuple: TypeAlias = tuple[str | None, str | None, str | None, str | None, str | None]
EventTuple: TypeAlias = tuple[str, datetime, str, str, str | None, TextsTuple, str]
ScheduleTuple: TypeAlias = tuple[int, timedelta, timedelta, int | None]


def connection(
    address: str | None,
    token: str | None,
    timeout: timedelta,
    tls_ca: bytes | None,
    tls_certificate: bytes | None,
    tls_key: bytes | None,
) -> _native.Connection:
    """A connection by the arguments and, where they are left out, the environment."""
    address = address or os.environ.get("TWINLOCK_ADDRESS") or DEFAULT_ADDRESS
    token = token or os.environ.get("TWINLOCK_TOKEN") or None
    return _native.Connection(address, token, timeout, tls_ca, tls_certificate, tls_key)


def texts(values: Iterable[str]) -> list[str]:
    """The values as a list. A lone text is a mistake: it would pass as its characters."""
    if isinstance(values, str):
        raise TypeError("authorities must be several texts, not one")
    return list(values)


def pending(answer: tuple[str, str, str, datetime]) -> PendingEnrollment:
    return PendingEnrollment(*answer)


def confirmed(answer: tuple[str, datetime, datetime]) -> ConfirmedEnrollment:
    return ConfirmedEnrollment(*answer)


def user(answer: UserTuple) -> User:
    enrolled, enroll_time, pending_expire_time, key_time, acknowledged, has_password = answer[:6]
    return User(
        enrolled,
        enroll_time,
        pending_expire_time,
        key_time,
        acknowledged,
        has_password,
        FailureCounter(*answer[6]),
        FailureCounter(*answer[7]),
    )


def login(answer: tuple[str, str, bool, bool]) -> LoginDecision:
    decision, reason, notify, remind = answer
    return LoginDecision(Decision(decision), reason, notify, remind)


def elevation(answer: ElevationTuple) -> Elevation:
    method, elevate_time, expire_time = answer
    return Elevation(Method(method), elevate_time, expire_time)


def verification(
    answer: tuple[str, datetime, KeyTuple, ElevationTuple | None],
) -> Verification:
    method, verify_time, (key, key_time), elevated = answer
    return Verification(
        Method(method),
        verify_time,
        key,
        key_time,
        None if elevated is None else elevation(elevated),
    )


def elevated(answer: tuple[ElevationTuple, KeyTuple]) -> Elevated:
    proof, (key, key_time) = answer
    return Elevated(elevation(proof), key, key_time)


def rotated(answer: tuple[str, datetime]) -> RecoveryKey:
    return RecoveryKey(*answer)


def issued(answer: KeyTuple) -> RecoveryKey | None:
    key, key_time = answer
    return None if key is None or key_time is None else RecoveryKey(key, key_time)


def event(answer: EventTuple) -> Event:
    event_id, event_time, kind, user_id, method, texts, namespace = answer
    return Event(
        event_id,
        event_time,
        kind,
        user_id,
        None if method is None else Method(method),
        *texts,
        namespace,
    )

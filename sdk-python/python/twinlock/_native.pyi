"""The native half of twinlock. Private: use the modules of the package."""

import asyncio
from datetime import datetime, timedelta
from typing import Generic, TypeVar, final

from . import _answers as _tuples

_T = TypeVar("_T")

__all__ = [
    "Call",
    "Connection",
    "Mailbox",
    "Watch",
    "backoff_check",
    "backoff_wait",
    "build_uri",
    "generate",
    "generate_recovery_key",
    "generate_secret",
    "hash_recovery_key",
    "parse_uri",
    "probe",
    "qr_svg",
    "verify",
    "verify_recovery_key",
]

@final
class Call(Generic[_T]):
    def wait(self) -> _T: ...
    def start(self, mailbox: Mailbox, future: asyncio.Future[_T]) -> None: ...
    def cancel(self) -> None: ...

@final
class Mailbox:
    def __new__(cls) -> Mailbox: ...
    def fileno(self) -> int: ...
    def deliver(self) -> None: ...

@final
class Watch:
    @property
    def missed_events(self) -> bool: ...
    def next(self) -> Call[_tuples.EventTuple | None]: ...
    def close(self) -> None: ...

@final
class Connection:
    def __new__(
        cls,
        address: str,
        token: str | None,
        timeout: timedelta,
        tls_ca: bytes | None,
        tls_certificate: bytes | None,
        tls_key: bytes | None,
    ) -> Connection: ...
    @property
    def address(self) -> str: ...
    def with_timeout(self, timeout: timedelta) -> Connection: ...
    def close(self) -> None: ...
    def evaluate_login(
        self,
        user_id: str,
        authorities: list[str],
        channel: str,
        resource: str | None,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[tuple[str, str, bool, bool]]: ...
    def verify(
        self,
        user_id: str,
        session_id: str | None,
        totp_code: str | None,
        recovery_key: str | None,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[tuple[str, datetime, _tuples.KeyTuple, _tuples.ElevationTuple | None]]: ...
    def elevate(
        self,
        user_id: str,
        session_id: str,
        totp_code: str | None,
        recovery_key: str | None,
        password: str | None,
        password_hash: str | None,
        asserted: str | None,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[tuple[_tuples.ElevationTuple, _tuples.KeyTuple]]: ...
    def check_elevation(
        self,
        user_id: str,
        session_id: str,
        max_age: timedelta | None,
    ) -> Call[_tuples.ElevationTuple]: ...
    def drop_elevation(
        self,
        user_id: str,
        session_id: str | None,
        all_sessions: bool,
    ) -> Call[None]: ...
    def enroll(
        self,
        user_id: str,
        session_id: str,
        account_name: str | None,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[tuple[str, str, str, datetime]]: ...
    def confirm_enrollment(
        self,
        user_id: str,
        session_id: str,
        totp_code: str,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[tuple[str, datetime, datetime]]: ...
    def unenroll(
        self,
        user_id: str,
        session_id: str,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[None]: ...
    def describe_user(
        self,
        user_id: str,
    ) -> Call[_tuples.UserTuple]: ...
    def rotate_recovery_key(
        self,
        user_id: str,
        session_id: str,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[tuple[str, datetime]]: ...
    def acknowledge_recovery_key(
        self,
        user_id: str,
        recovery_key_create_time: datetime,
    ) -> Call[None]: ...
    def set_password(
        self,
        user_id: str,
        password: str | None,
        password_hash: str | None,
    ) -> Call[None]: ...
    def clear_password(
        self,
        user_id: str,
    ) -> Call[None]: ...
    def unenroll_user(
        self,
        admin_user_id: str,
        totp_code: str,
        user_id: str,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[None]: ...
    def clear_backoff(
        self,
        admin_user_id: str,
        totp_code: str,
        user_id: str,
        request_id: str | None,
        ip_address: str | None,
        user_agent: str | None,
    ) -> Call[None]: ...
    def import_enrollment(
        self,
        user_id: str,
        otpauth_uri: str,
        issue_recovery_key: bool,
        request_id: str | None,
    ) -> Call[_tuples.KeyTuple]: ...
    def erase_user(
        self,
        user_id: str,
        request_id: str | None,
    ) -> Call[None]: ...
    def reset_user(
        self,
        user_id: str,
        why: str,
        request_id: str | None,
    ) -> Call[None]: ...
    def check_health(
        self,
        service: str,
    ) -> Call[bool]: ...
    def watch_events(self, after_event_id: str | None) -> Call[Watch]: ...

def verify(
    secret: str,
    code: str,
    *,
    last_step: int | None = None,
    at: datetime | float | None = None,
    window: int | None = None,
    algorithm: str | None = None,
    digits: int | None = None,
    period: int | None = None,
) -> int: ...
def generate(
    secret: str,
    *,
    at: datetime | float | None = None,
    algorithm: str | None = None,
    digits: int | None = None,
    period: int | None = None,
) -> str: ...
def generate_secret() -> str: ...
def build_uri(
    secret: str,
    *,
    issuer: str,
    account_name: str,
    algorithm: str | None = None,
    digits: int | None = None,
    period: int | None = None,
) -> str: ...
def parse_uri(uri: str) -> tuple[str, str | None, str | None, str, int, int]: ...
def qr_svg(text: str) -> str: ...
def generate_recovery_key() -> str: ...
def hash_recovery_key(recovery_key: str, *, user_id: str, namespace: str | None = None) -> bytes: ...
def verify_recovery_key(
    recovery_key: str, hash: bytes, *, user_id: str, namespace: str | None = None
) -> None: ...
def backoff_wait(schedule: _tuples.ScheduleTuple, failures: int) -> timedelta: ...
def backoff_check(
    schedule: _tuples.ScheduleTuple,
    failures: int,
    last_failure: datetime | float | None,
    at: datetime | float | None,
) -> int: ...
def probe(panics: bool = False) -> None: ...

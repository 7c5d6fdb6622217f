"""What the calls give back. Secrets are fields like others, but ``repr`` leaves them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
"""The end of a lock, which only an administrator ends."""


class Method(str, Enum):
    """How identity was proved."""

    TOTP = "TOTP"
    RECOVERY_KEY = "RECOVERY_KEY"
    PASSWORD = "PASSWORD"
    ASSERTED = "ASSERTED"
    """By the product's own means, single sign-on for instance."""
    UNKNOWN = "UNKNOWN"
    """By one that this release does not know."""


class LoginChannel(str, Enum):
    """The way in that a login uses."""

    FORM = "FORM"
    """A form that can ask for a second step."""
    BASIC = "BASIC"
    """HTTP basic authentication, or another way in that cannot ask for a second step."""
    RECOVERY_ADMIN = "RECOVERY_ADMIN"
    """The product's emergency administrator, who exists outside its user directory."""
    UNSPECIFIED = "UNSPECIFIED"
    """Refused by the server, so that no login forgets to say it."""


class Decision(str, Enum):
    """What a login still owes."""

    ALLOW = "ALLOW"
    """Nothing more."""
    VERIFY = "VERIFY"
    """Ask for a code or the recovery key, and verify it."""
    ENROLL = "ENROLL"
    """The user must enroll before going on."""
    DENY = "DENY"
    """Refuse the login."""


@dataclass(frozen=True, slots=True)
class PendingEnrollment:
    """An enrollment that waits for its first code. Show it uncached; it is never returned again."""

    secret: str = field(repr=False)
    """Base32 without padding, for users who type it."""
    otpauth_uri: str = field(repr=False)
    """The same as a URI, for authenticator apps."""
    qr_svg: str = field(repr=False)
    """The URI as a QR code, a complete SVG document."""
    expire_time: datetime
    """When the enrollment lapses."""


@dataclass(frozen=True, slots=True)
class ConfirmedEnrollment:
    """An enrollment in force."""

    recovery_key: str = field(repr=False)
    """Show it now; it is never returned again."""
    recovery_key_create_time: datetime
    """Names the key when it is acknowledged."""
    enroll_time: datetime


@dataclass(frozen=True, slots=True)
class FailureCounter:
    """One of a user's two counters of consecutive failures."""

    failures: int
    """Since the last success."""
    blocked_until: datetime | None
    """Until when attempts are refused unread; :data:`NEVER` where only an administrator ends it, ``None`` where
    they are not refused."""


@dataclass(frozen=True, slots=True)
class User:
    """What is known of a user."""

    enrolled: bool
    enroll_time: datetime | None
    pending_expire_time: datetime | None
    """Set while an enrollment waits to be confirmed."""
    recovery_key_create_time: datetime | None
    recovery_key_acknowledged: bool
    """Whether the user has said that the current recovery key is stored."""
    has_password: bool
    second_factor_backoff: FailureCounter
    password_backoff: FailureCounter


@dataclass(frozen=True, slots=True)
class LoginDecision:
    """What a login still owes, and why."""

    decision: Decision
    reason: str
    """``"ENROLLED"``, ``"NOT_ENROLLED"``, ``"ENFORCED"``, …"""
    notify: bool
    """True once for a user who newly owes an enrollment: tell them by email."""
    remind_recovery_key: bool
    """True where nobody has said that the current recovery key is stored: offer a new one."""


@dataclass(frozen=True, slots=True)
class Elevation:
    """A session's recent proof of identity."""

    method: Method
    elevate_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Verification:
    """A second step that was taken."""

    method: Method
    verify_time: datetime
    recovery_key: str | None = field(repr=False)
    """The new recovery key, where the old one was used up: show it now, it is never returned again."""
    recovery_key_create_time: datetime | None
    elevation: Elevation | None
    """Set where a session was given."""


@dataclass(frozen=True, slots=True)
class Elevated:
    """A session that may do sensitive things for a while."""

    elevation: Elevation
    recovery_key: str | None = field(repr=False)
    """As in :class:`Verification`."""
    recovery_key_create_time: datetime | None


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """A recovery key that was issued: show it now, it is never returned again."""

    recovery_key: str = field(repr=False)
    recovery_key_create_time: datetime
    """Names the key when it is acknowledged."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. It never holds a secret, a code, a key or a password."""

    event_id: str
    """Where to go on watching."""
    event_time: datetime
    type: str
    """``"VERIFIED"``, ``"BLOCKED"``, …; the audit trail's page has the table."""
    user_id: str
    method: Method | None
    actor_id: str | None
    """Who did it, where that is somebody else."""
    caller: str | None
    """The backend that called."""
    reason: str | None
    ip_address: str | None
    user_agent: str | None
    namespace: str

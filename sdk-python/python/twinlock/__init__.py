"""Two-step verification with Twinlock.

With a server, which keeps secrets, used codes, failures and elevations: :class:`Client` and
:class:`AsyncClient`. Without one: :mod:`twinlock.totp` and :mod:`twinlock.recovery`, for a product that keeps
all of that by itself.

A code, key or password that is not accepted is always an exception, a :class:`TwinlockError`, and never
``False``.
"""

from ._async_client import AsyncClient, AsyncEventStream
from ._backoff import Backoff
from ._client import Client, EventStream
from ._errors import (
    BlockedError,
    CallerError,
    ElevationRequiredError,
    InternalError,
    ProofError,
    RequestError,
    StateError,
    TwinlockError,
    UnavailableError,
)
from ._results import (
    NEVER,
    ConfirmedEnrollment,
    Decision,
    Elevated,
    Elevation,
    Event,
    FailureCounter,
    LoginChannel,
    LoginDecision,
    Method,
    PendingEnrollment,
    RecoveryKey,
    User,
    Verification,
)

__all__ = [
    "NEVER",
    "AsyncClient",
    "AsyncEventStream",
    "Backoff",
    "BlockedError",
    "CallerError",
    "Client",
    "ConfirmedEnrollment",
    "Decision",
    "Elevated",
    "Elevation",
    "ElevationRequiredError",
    "Event",
    "EventStream",
    "FailureCounter",
    "InternalError",
    "LoginChannel",
    "LoginDecision",
    "Method",
    "PendingEnrollment",
    "ProofError",
    "RecoveryKey",
    "RequestError",
    "StateError",
    "TwinlockError",
    "UnavailableError",
    "User",
    "Verification",
]

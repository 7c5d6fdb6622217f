"""The exceptions. Which reasons belong to which class is written once, in the Rust client."""

from __future__ import annotations

from datetime import timedelta
from typing import cast


class TwinlockError(Exception):
    """The root of all failures of this package. Each is of one of the subclasses.

    ``str(error)`` is a plain sentence that says what to do. It never holds a secret.

    >>> from twinlock import TwinlockError, totp
    >>> try:
    ...     totp.verify("JBSWY3DPEHPK3PXP", "12345x")
    ... except TwinlockError as error:
    ...     print(error.reason, error.code, error.fields)
    MALFORMED_CODE INVALID_ARGUMENT ('totp_code',)
    """

    # Everything is in `args`, so that an error is made at the cost of a tuple and pickles by itself.

    @property
    def message(self) -> str:
        """The sentence that says what to do."""
        return cast(str, self.args[0]) if self.args else ""

    @property
    def reason(self) -> str:
        """Why, by the API's own name: ``"INVALID_CODE"``, ``"BACKOFF"``. Branch on this."""
        return cast(str, self.args[1]) if len(self.args) > 1 else "INTERNAL"

    @property
    def code(self) -> str:
        """The name of the gRPC status code: ``"UNAUTHENTICATED"``."""
        return cast(str, self.args[2]) if len(self.args) > 2 else "INTERNAL"

    @property
    def retry_after(self) -> timedelta | None:
        """After how long another attempt makes sense; ``None`` where waiting alone does not help."""
        return cast("timedelta | None", self.args[3]) if len(self.args) > 3 else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that are wrong, as the protobuf files write them; mostly none."""
        return cast("tuple[str, ...]", self.args[4]) if len(self.args) > 4 else ()

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, reason={self.reason!r})"


class ProofError(TwinlockError):
    """What the user presented is not accepted: show the form again.

    ``INVALID_CODE``; ``CODE_ALREADY_USED``, with the time until the next code in ``retry_after``;
    ``MALFORMED_CODE``, which was not counted.
    """


class BlockedError(TwinlockError):
    """Nothing was looked at, because of failures before.

    ``BACKOFF``: wait for ``retry_after``. ``LOCKED``: an administrator must clear it.
    """


class ElevationRequiredError(TwinlockError):
    """The session has no proof of identity that is recent and strong enough: ask for a code, and elevate."""


class StateError(TwinlockError):
    """The user or the administrator is not in a state that allows the call: branch on ``reason``.

    ``NOT_ENROLLED``, ``NO_PENDING_ENROLLMENT``, ``SECOND_FACTOR_REQUIRED``, ``NO_PASSWORD``,
    ``ASSERTION_NOT_ALLOWED``, ``ADMIN_NOT_ENROLLED``, ``SELF_UNENROLL``, ``USER_NOT_FOUND``,
    ``ALREADY_ENROLLED``.
    """


class RequestError(TwinlockError):
    """An argument, or an option of the client, is not of its form; it will never succeed.

    ``INVALID_REQUEST``, with the name of what is wrong in ``fields``; ``REQUEST_ID_REUSED``.
    """


class CallerError(TwinlockError):
    """The server does not let this backend do it: correct the token, its roles, or ``admin.users``.

    ``CALLER_UNAUTHENTICATED``, ``CALLER_FORBIDDEN``.
    """


class UnavailableError(TwinlockError):
    """There was no verdict; the same call, with the same request id, may succeed later.

    ``UNAVAILABLE`` and ``DEADLINE_EXCEEDED`` (no connection, no answer in time), ``OVERLOADED``,
    ``STORE_UNAVAILABLE``. It never means "not enrolled": refuse the login for now.
    """


class InternalError(TwinlockError):
    """Something is broken, and only an operator can mend it: refuse, and raise an alarm.

    ``STORE_INCOMPLETE``, ``SECRET_UNREADABLE``, and whatever this release does not know.
    """


# What tracebacks, logs and pickles call them must not be the name of a private module.
for _kind in (TwinlockError, *TwinlockError.__subclasses__()):
    _kind.__module__ = "twinlock"

"""Twinlock for FastAPI: dependencies, and answers for what fails. Needs ``pip install twinlock[fastapi]``.

>>> from fastapi import Depends, FastAPI
>>> from twinlock import AsyncClient
>>> from twinlock.fastapi import Identity, Twinlock
>>> def identity() -> Identity:
...     return Identity(user_id="alice", session_id="web-1")
>>> twinlock = Twinlock(AsyncClient(), identity=identity)
>>> app = FastAPI()
>>> twinlock.install(app)
>>> @app.post("/payout", dependencies=[Depends(twinlock.elevation_required())])
... async def payout() -> dict[str, bool]:
...     return {"paid": True}
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from ._async_client import AsyncClient
from ._errors import (
    BlockedError,
    ElevationRequiredError,
    ProofError,
    StateError,
    TwinlockError,
    UnavailableError,
)
from ._results import Elevation

__all__ = ["Identity", "Twinlock", "failure"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request is from, as the product's own session says."""

    user_id: str
    """The stable id of the user table."""
    session_id: str = field(repr=False)
    """The login session's id, or a hash of it."""


class Twinlock:
    """A client of Twinlock within an application. ``identity`` is a dependency that gives an :class:`Identity`, or
    ``None`` where nobody is logged in."""

    def __init__(self, client: AsyncClient, *, identity: Callable[..., Any]) -> None:
        self._client = client
        self._identity = identity

    @property
    def client(self) -> AsyncClient:
        """The client, for the login itself: ``evaluate_login`` after the password, which says what is owed and why,
        and ``verify``."""
        return self._client

    def install(self, app: FastAPI) -> None:
        """Answers by :func:`failure` whatever :class:`TwinlockError` a route raises."""
        app.add_exception_handler(TwinlockError, _answer)

    def elevation_required(
        self, *, max_age: timedelta | None = None
    ) -> Callable[..., Awaitable[Elevation]]:
        """A dependency that lets through sessions which have proved identity lately, within ``max_age``, and
        gives their :class:`Elevation`. Others get 403 with the reason ``ELEVATION_REQUIRED``.
        """
        client = self._client

        async def check(identity: Identity | None = Depends(self._identity)) -> Elevation:
            if identity is None:
                raise ElevationRequiredError(
                    "Log in first.", "ELEVATION_REQUIRED", "PERMISSION_DENIED"
                )
            return await client.check_elevation(
                user_id=identity.user_id, session_id=identity.session_id, max_age=max_age
            )

        return check


def failure(error: TwinlockError) -> JSONResponse:
    """The answer to a failed call, in JSON: ``reason``, ``message`` and, where waiting helps, ``retryAfterMs``.

    The status is 400 or 401 for a proof, 429 with ``Retry-After`` during a wait, 403 where elevation is required,
    409 for a state and 503 with no verdict. What is wrong between this backend and the server
    (:class:`RequestError`, :class:`CallerError`, :class:`InternalError`) is a 500 that names no reason: it is
    nobody's business but the operator's, who finds it in the log, as where there was no verdict.
    """
    headers = {"cache-control": "no-store"}
    body: dict[str, object] = {"reason": error.reason, "message": error.message}
    if error.retry_after is not None:
        milliseconds = ceil(error.retry_after / timedelta(milliseconds=1))
        body["retryAfterMs"] = milliseconds
        if isinstance(error, (BlockedError, UnavailableError)):
            headers["retry-after"] = str(ceil(milliseconds / 1000))
    if isinstance(error, ProofError):
        status = 400 if error.reason == "MALFORMED_CODE" else 401
    elif isinstance(error, BlockedError):
        status = 429
    elif isinstance(error, ElevationRequiredError):
        status = 403
    elif isinstance(error, StateError):
        status = 409
    elif isinstance(error, UnavailableError):
        status = 503
        body["message"] = "Two-step verification cannot be reached now. Try again later."
    else:
        status = 500
        body = {"reason": "INTERNAL", "message": "Something went wrong."}
    if status >= 500:
        _log.error("no verdict: %s %s", error.reason, error)
    return JSONResponse(body, status, headers)


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, TwinlockError):
        raise error
    return failure(error)

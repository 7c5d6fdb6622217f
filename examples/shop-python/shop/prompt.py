"""What the pages that ask for a proof have in common: repeats that are harmless, and a sentence for each failure."""

import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from math import ceil

from django.shortcuts import render
from twinlock import BlockedError, ProofError, StateError, TwinlockError, UnavailableError
from twinlock.django import client, session_id

# Where Twinlock's own sentence is for the backend and not for whom it serves.
SENTENCES = {
    "MALFORMED_CODE": "This is not complete. A code has 6 digits, a recovery key five groups of five characters.",
    "NOT_ENROLLED": "Two-step verification is off for this account.",
    "NO_PENDING_ENROLLMENT": "The set-up took too long. Start it again.",
    "ADMIN_NOT_ENROLLED": "Set up two-step verification for yourself first.",
    "SELF_UNENROLL": "Turn off your own in your settings, or ask another administrator.",
    "USER_NOT_FOUND": "Two-step verification is off for this account.",
}


@dataclass
class Problem:
    """Why a form is shown again."""

    sentence: str
    status: int = 200
    wait: int | None = None
    """Seconds until another attempt makes sense."""
    keep: bool = False
    """Whether there was no verdict, so that the same form is to be sent again as it is."""


def explain(error: TwinlockError) -> Problem:
    sentence = SENTENCES.get(error.reason, error.message)
    if isinstance(error, BlockedError):
        # Without a wait, only an administrator ends the lock.
        wait = error.retry_after and ceil(error.retry_after.total_seconds())
        return Problem(sentence, 429, wait)
    if isinstance(error, ProofError):
        return Problem(sentence, 422)
    if isinstance(error, StateError):
        return Problem(sentence, 409)
    logging.getLogger(__name__).error("no verdict: %s %s", error.reason, error)
    if isinstance(error, UnavailableError):
        sentence = "This cannot be checked just now. Nothing is lost: try again in a moment."
        return Problem(sentence, 503, keep=True)
    return Problem("Something went wrong. Try again later.", 500)


def page(request, template, problem=None, **context):
    """A page with a form. The ticket in it is a new one, unless the same form is to be sent again."""
    again = problem is not None and problem.keep
    context |= {
        "problem": problem,
        "ticket": request.POST.get("ticket") if again else secrets.token_urlsafe(24),
        "typed": request.POST if again else {},
    }
    response = render(request, template, context, status=problem.status if problem else 200)
    if problem and problem.status == 429 and problem.wait:
        response["Retry-After"] = str(problem.wait)
    return response


def call(request, user, what, ticket=None, **more):
    """The arguments of a call for this user and session. The request id comes from the form's ticket and what was
    typed: a form that is sent twice, or again because its answer was lost, gets the same answer, a new recovery key
    included, and another code in the same form is another request."""
    session = session_id(request)
    parts = (what, session, ticket or request.POST.get("ticket", ""), *more.values())
    return {
        "user_id": str(user.pk),
        "session_id": session,
        "request_id": hashlib.sha256("\0".join(parts).encode()).hexdigest(),
        "ip_address": request.META.get("REMOTE_ADDR"),
        "user_agent": request.META.get("HTTP_USER_AGENT", ""),
        **more,
    }


def presented(request):
    """The code or the recovery key of a form. Apps show codes with a blank in the middle, and people type it."""
    if "recovery_key" in request.POST:
        return {"recovery_key": request.POST["recovery_key"]}
    return {"totp_code": "".join(request.POST.get("code", "").split())}


def waiting(user):
    """A problem that tells of a wait which runs already, if one does."""
    try:
        until = client().describe_user(user_id=str(user.pk)).second_factor_backoff.blocked_until
    except TwinlockError:
        return None
    wait = 0 if until is None else ceil((until - datetime.now(timezone.utc)).total_seconds())
    return Problem("There were failed attempts.", wait=wait) if wait > 0 else None

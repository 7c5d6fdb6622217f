"""Twinlock for Django: a login in two steps, and views that need a recent proof of identity. Needs
``pip install twinlock[django]``.

The setting ``TWINLOCK`` is a dictionary with ``ADDRESS``, ``TOKEN``, ``TIMEOUT`` (seconds) and ``TLS_CA``,
``TLS_CERTIFICATE`` and ``TLS_KEY`` (PEM, as bytes); all of them may be left out. Users are named by their primary key. Each login gets a random session id of its own,
kept in Django's session.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django import forms
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME, SESSION_KEY, get_user_model, login
from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.generic import FormView

from ._client import Client
from ._errors import (
    BlockedError,
    ElevationRequiredError,
    ProofError,
    StateError,
    TwinlockError,
)
from ._results import Decision, LoginChannel, LoginDecision

__all__ = [
    "LoginMixin",
    "LoginView",
    "PasswordForm",
    "VerifyForm",
    "VerifyView",
    "client",
    "elevation_required",
    "login_decision",
    "pending_user",
    "session_id",
]

_log = logging.getLogger(__name__)

SESSION_ID = "_twinlock_session"
PENDING = "_twinlock_pending"
DECISION = "_twinlock_decision"
PENDING_SECONDS = 10 * 60
"""How long a login waits for its second step."""

_OPTIONS = {"ADDRESS", "TOKEN", "TIMEOUT", "TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"}

V = TypeVar("V", bound=Callable[..., Any])


@functools.cache
def client() -> Client:
    """The client of this process, by the setting ``TWINLOCK``."""
    setting = getattr(settings, "TWINLOCK", {})
    # A misspelt address would be that of another server.
    if unknown := setting.keys() - _OPTIONS:
        raise ImproperlyConfigured(f"TWINLOCK has no option {', '.join(sorted(unknown))}.")
    return Client(
        setting.get("ADDRESS"),
        token=setting.get("TOKEN"),
        timeout=timedelta(seconds=setting.get("TIMEOUT", 5)),
        tls_ca=setting.get("TLS_CA"),
        tls_certificate=setting.get("TLS_CERTIFICATE"),
        tls_key=setting.get("TLS_KEY"),
    )


def session_id(request: HttpRequest) -> str:
    """The id by which Twinlock knows the request's session; made when it is first asked for."""
    known = request.session.get(SESSION_ID)
    if not known:
        known = request.session[SESSION_ID] = secrets.token_urlsafe(24)
    return str(known)


class LoginMixin(auth_views.LoginView):
    """A login view that lets in only those who owe no second step, and sends the others to ``verify_url`` or
    ``enroll_url``. Put it in front of the product's own ``LoginView``.

    Where Twinlock gives no verdict, nobody is let in. What it says of a login is in :meth:`login_evaluated`, and
    later in :func:`login_decision`.
    """

    verify_url = "twinlock_verify"
    """Where to enter the code: a path, or the name of a URL pattern."""
    enroll_url: str | None = None
    """Where to set up an app, for those who must; without one they are refused. They are not logged in there:
    :func:`pending_user` is who they are."""

    def authorities(self, user: Any) -> list[str]:
        """What the user is allowed to do, in the words of the server's ``enforcement.authorities``: by default
        ``superuser``, ``staff``, and the names of their groups."""
        known = [name for name in ("superuser", "staff") if getattr(user, f"is_{name}", False)]
        groups = getattr(user, "groups", None)
        return known + ([] if groups is None else [group.name for group in groups.all()])

    def login_evaluated(self, user: Any, decision: LoginDecision) -> None:
        """Called once for each login whose password was right, before anybody is logged in; does nothing by default.

        Override it to tell the user of an enrollment that they owe from now on, where ``decision.notify`` is true,
        which it is once; or to leave a message for the next page. What it raises ends the login.
        """

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        try:
            owed = client().evaluate_login(
                user_id=str(user.pk),
                channel=LoginChannel.FORM,
                authorities=self.authorities(user),
                **_origin(self.request),
            )
        except TwinlockError as error:
            _no_verdict(form, error)
            return self.form_invalid(form)
        url = {Decision.VERIFY: self.verify_url, Decision.ENROLL: self.enroll_url}.get(owed.decision)
        if url is not None:
            self._suspend(user, owed)
        self.login_evaluated(user, owed)
        if url is not None:
            return HttpResponseRedirect(resolve_url(url))
        if owed.decision is not Decision.ALLOW:
            form.add_error(None, "This account cannot log in here.")
            return self.form_invalid(form)
        for name in (SESSION_ID, PENDING):
            self.request.session.pop(name, None)
        response = super().form_valid(form)
        self.request.session[DECISION] = asdict(owed)
        return response

    def _suspend(self, user: Any, owed: LoginDecision) -> None:
        session = self.request.session
        # The session of somebody who was logged in before must not stand for the one who logs in now. What a visitor
        # has put into theirs stays, as in any login with Django.
        if SESSION_KEY in session:
            session.flush()
        else:
            session.cycle_key()
            session.pop(SESSION_ID, None)
        session[DECISION] = asdict(owed)
        session[PENDING] = {
            "user": str(user.pk),
            "backend": user.backend,
            "next": self.get_success_url(),
            "since": time.time(),
            # A login gets an id that nobody knew before it.
            "session": secrets.token_urlsafe(24),
        }


class LoginView(LoginMixin):
    """Django's own login view with the second step."""


def pending_user(request: HttpRequest) -> Any | None:
    """The user whose password was right a while ago, and who still owes a second step."""
    pending = request.session.get(PENDING)
    if not pending or not 0 <= time.time() - pending["since"] < PENDING_SECONDS:
        return None
    user = get_user_model()._default_manager.filter(pk=pending["user"]).first()
    if user is None or not user.is_active:
        return None
    user.backend = pending["backend"]
    return user


def login_decision(request: HttpRequest) -> LoginDecision | None:
    """What Twinlock said of the login that waits for its second step or that the session began with, and why:
    ``decision``, ``reason``, ``notify`` and ``remind_recovery_key``. ``None`` where no :class:`LoginMixin` was asked.

    It stays as it was at the login; ``client().describe_user`` says what is so now.
    """
    kept = request.session.get(DECISION)
    if kept is None:
        return None
    return LoginDecision(**kept | {"decision": Decision(kept["decision"])})


class _Form(forms.Form):
    """A form with a hidden field that makes a repeat harmless: a form that is sent twice, or again because its answer
    was lost, gets the same answer, a new recovery key included. A template that leaves the field out does without
    that."""

    ticket = forms.CharField(
        max_length=128,
        required=False,
        widget=forms.HiddenInput,
        initial=functools.partial(secrets.token_urlsafe, 24),
    )

    def renew(self) -> None:
        """Makes what is typed next another request, and no repeat."""
        typed = {name: self.data.get(name) for name in self.data}
        self.data = typed | {self.add_prefix("ticket"): secrets.token_urlsafe(24)}


class VerifyForm(_Form):
    """One field for the code or the recovery key, and the hidden one."""

    code = forms.CharField(
        label="Code from the authenticator app, or recovery key",
        max_length=128,
        strip=True,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "autofocus": True}),
    )


class PasswordForm(_Form):
    """What proves identity as long as no app is set up: the password, and the hidden field."""

    password = forms.CharField(
        max_length=4096,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


if TYPE_CHECKING:
    _FormView = FormView[VerifyForm | PasswordForm]
else:
    _FormView = FormView


class VerifyView(_FormView):
    """The second step: of a login, or of somebody who is logged in and goes on to something sensitive. In a login,
    templates get its ``login_decision``. Who is logged in and has set up no app is asked for the password, which
    Twinlock compares with the hash in the user table, and so makes those wait who guess.

    A login by recovery key ends with the link on the page that shows the next key. Were the session renewed together
    with that page, and the page lost on its way, nobody could ask for it again.
    """

    form_class = VerifyForm
    password_form_class: type[PasswordForm] = PasswordForm
    template_name = "registration/twinlock_verify.html"
    recovery_key_template_name = "registration/twinlock_recovery_key.html"
    """Shows ``recovery_key``, the next one after the old one was used, with a link to ``next_url``, or a form that sends
    it as ``next`` and ``recovery_key_create_time`` in ISO 8601 as ``stored``: the user has stored the key."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = pending_user(request)
        self._is_login = user is not None
        if user is None and getattr(request, "user", None) and request.user.is_authenticated:
            user = request.user
        if user is None:
            return HttpResponseRedirect(resolve_url(settings.LOGIN_URL))
        self._user: Any = user
        response: HttpResponseBase
        if self._is_login and request.method == "GET" and request.session[PENDING].get("passed"):
            response = self._finish()
        else:
            response = super().dispatch(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        stored = request.POST.get("stored")
        if stored is None:
            return super().post(request, *args, **kwargs)
        if not self._is_login or request.session[PENDING].get("passed"):
            try:
                client().acknowledge_recovery_key(
                    user_id=str(self._user.pk),
                    recovery_key_create_time=datetime.fromisoformat(stored),
                )
            except (TwinlockError, ValueError) as error:
                # Nothing is lost: the next login reminds of it.
                _log.warning("a recovery key was not acknowledged: %s", error)
        # A login ends there, once, however often the button was pressed.
        url = request.get_full_path() if self._is_login else self.get_success_url()
        return HttpResponseRedirect(url)

    def get_form_class(self) -> type[VerifyForm | PasswordForm]:
        return self.password_form_class if self._has_password_alone() else super().get_form_class()

    def _has_password_alone(self) -> bool:
        if self._is_login or not self._user.has_usable_password():
            return False
        try:
            return not client().describe_user(user_id=str(self._user.pk)).enrolled
        except TwinlockError:
            # Whatever is presented gets no verdict either, and that is what the form then says.
            return False

    def form_valid(self, form: VerifyForm | PasswordForm) -> HttpResponse:
        user, proof = self._user, _proof(form, self._user)
        pending = self.request.session[PENDING] if self._is_login else None
        session = pending["session"] if pending else session_id(self.request)
        ask: Any = client().verify if self._is_login else client().elevate
        try:
            done = ask(
                user_id=str(user.pk),
                session_id=session,
                request_id=_request_id(session, form.cleaned_data["ticket"], *proof.values()),
                **proof,
                **_origin(self.request),
            )
        except ProofError as error:
            form.renew()
            wait = _wait(error) if error.reason == "CODE_ALREADY_USED" else ""
            field = "password" if "password" in proof else "code"
            form.add_error(field, f"{_SENTENCES.get(error.reason, _SENTENCES['INVALID_CODE'])}{wait}")
            return self.form_invalid(form)
        except BlockedError as error:
            form.renew()
            form.add_error(None, f"Too many failed attempts.{_wait(error) or ' Ask for help.'}")
            return self.form_invalid(form)
        except StateError:
            form.add_error(None, "Something has changed meanwhile. Log in again.")
            return self.form_invalid(form)
        except TwinlockError as error:
            _no_verdict(form, error)
            return self.form_invalid(form)
        if done.recovery_key is None:
            return self._finish()
        next_url = self.get_success_url()
        if pending:
            self.request.session[PENDING] = pending | {"passed": True, "since": time.time()}
            next_url = self.request.get_full_path()
        context = self.get_context_data(
            recovery_key=done.recovery_key,
            recovery_key_create_time=done.recovery_key_create_time,
            next_url=next_url,
        )
        return self.response_class(
            request=self.request,
            template=[self.recovery_key_template_name],
            context=context,
        )

    def _finish(self) -> HttpResponse:
        target = self.get_success_url()
        if self._is_login:
            pending = self.request.session.pop(PENDING)
            decision = self.request.session.get(DECISION)
            login(self.request, self._user, backend=self._user.backend)
            self.request.session[SESSION_ID] = pending["session"]
            self.request.session[DECISION] = decision
        return HttpResponseRedirect(target)

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        decision = login_decision(self.request) if self._is_login else None
        return super().get_context_data(login_decision=decision, **more)

    def get_success_url(self) -> str:
        if self._is_login:
            return str(self.request.session[PENDING]["next"])
        url = self.request.POST.get(REDIRECT_FIELD_NAME) or self.request.GET.get(
            REDIRECT_FIELD_NAME, ""
        )
        allowed = url_has_allowed_host_and_scheme(
            url, {self.request.get_host()}, self.request.is_secure()
        )
        return url if allowed else resolve_url(settings.LOGIN_REDIRECT_URL)


@overload
def elevation_required(
    view: V, *, max_age: timedelta | None = None, verify_url: str = "twinlock_verify"
) -> V: ...
@overload
def elevation_required(
    view: None = None, *, max_age: timedelta | None = None, verify_url: str = "twinlock_verify"
) -> Callable[[V], V]: ...
def elevation_required(
    view: V | None = None,
    *,
    max_age: timedelta | None = None,
    verify_url: str = "twinlock_verify",
) -> V | Callable[[V], V]:
    """Lets through only sessions that have proved identity lately, within ``max_age``; sends the others to
    ``verify_url`` and back. Requests that change something are refused instead (403): going back would lose
    what was sent. Where Twinlock gives no verdict, the failure goes on and nobody passes.

    The view may be an ``async`` one.
    """
    if view is None:
        return functools.partial(elevation_required, max_age=max_age, verify_url=verify_url)
    inner = view

    def instead(request: HttpRequest) -> HttpResponseBase | None:
        path = request.get_full_path()
        if not request.user.is_authenticated:
            query = urlencode({REDIRECT_FIELD_NAME: path})
            return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")
        try:
            client().check_elevation(
                user_id=str(request.user.pk), session_id=session_id(request), max_age=max_age
            )
        except ElevationRequiredError:
            if request.method not in ("GET", "HEAD"):
                raise PermissionDenied("This needs a recent proof of identity.") from None
            query = urlencode({REDIRECT_FIELD_NAME: path})
            return HttpResponseRedirect(f"{resolve_url(verify_url)}?{query}")
        return None

    if iscoroutinefunction(inner):

        @functools.wraps(inner)
        async def awaited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            answer = await sync_to_async(instead)(request)
            return await inner(request, *args, **kwargs) if answer is None else answer

        return cast(V, awaited)

    @functools.wraps(inner)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        answer = instead(request)
        return inner(request, *args, **kwargs) if answer is None else answer

    return cast(V, checked)


_SENTENCES = {
    "INVALID_CODE": "This is not right. Check it and try again.",
    "MALFORMED_CODE": "This is neither a code nor a recovery key.",
    "CODE_ALREADY_USED": "This code was used before. Wait for the next one and enter that.",
}


def _no_verdict(form: forms.Form, error: TwinlockError) -> None:
    # The user can do nothing but come again; why it was is for the operator.
    _log.error("no verdict: %s %s", error.reason, error)
    form.add_error(None, "The second step cannot be checked now. Try again later.")


def _proof(form: VerifyForm | PasswordForm, user: Any) -> dict[str, str]:
    if isinstance(form, PasswordForm):
        return {"password": form.cleaned_data["password"], "password_hash": user.password}
    # Apps show codes with a blank in the middle, and people type it.
    presented = "".join(form.cleaned_data["code"].split())
    is_code = re.fullmatch("[0-9]{6,8}", presented) is not None
    return {"totp_code" if is_code else "recovery_key": presented}


def _request_id(session: str, ticket: str, *presented: str) -> str | None:
    """The same for the same form with the same content, and for nothing else."""
    if not ticket:
        return None
    return hashlib.sha256("\0".join((session, ticket, *presented)).encode()).hexdigest()


def _wait(error: TwinlockError) -> str:
    if error.retry_after is None:
        return ""
    return f" Try again in {ceil(error.retry_after.total_seconds())} s."


def _origin(request: HttpRequest) -> dict[str, Any]:
    return {
        "ip_address": request.META.get("REMOTE_ADDR"),
        "user_agent": request.META.get("HTTP_USER_AGENT", "")[:255],
    }

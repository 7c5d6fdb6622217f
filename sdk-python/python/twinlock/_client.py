"""The client whose calls block their thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from types import TracebackType
from typing import TypeVar

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

C = TypeVar("C", bound="Client")


class Client(Connected):
    """A client of a Twinlock server. Many threads may share one, and it goes on working after a fork.

    ``address`` is ``http://127.0.0.1:6238``, ``127.0.0.1:6238`` for the same, ``https://host:port`` for TLS, or
    ``unix:/path/to/socket``; where it is left out, the environment's ``TWINLOCK_ADDRESS``, and else the first of
    these. ``token`` is the bearer token of the caller, or ``TWINLOCK_TOKEN``. ``timeout`` is the deadline of a whole
    call, its repeats included, at most one day. ``tls_ca`` (PEM) may vouch for the server in place of the operating
    system's authorities; ``tls_certificate`` and ``tls_key`` (PEM) are the client's own.

    Nothing is connected before the first call. Reads, and calls with a ``request_id``, are repeated within the
    deadline where no verdict was reached, at most twice. A call that takes a ``request_id`` and gets none makes a
    random one; give one yourself to ask for a lost answer again, for up to ten minutes: 16 to 64 random characters,
    ``secrets.token_urlsafe(24)``. ``ip_address`` and ``user_agent`` say where an attempt came from, for the audit
    trail alone.

    Every call may raise :class:`UnavailableError`, :class:`RequestError`, :class:`CallerError` and
    :class:`InternalError`; what else it raises is said with it.

    >>> from twinlock import Client
    >>> with Client(timeout=timedelta(seconds=2)) as client:
    ...     client.describe_user(user_id="nobody").enrolled
    False
    """

    def close(self) -> None:
        """Ends the use of this client: later calls raise :class:`RequestError`. Calls and watches that are under way
        go on, and the connection is closed after the last of them.

        >>> other = Client()
        >>> other.close()
        >>> other.check_health()
        Traceback (most recent call last):
            ...
        twinlock.RequestError: The client is closed. Make a new one.
        """
        self._connection.close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def evaluate_login(
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
        """Decides what a login that has passed its first step still owes.

        ``authorities`` is what the user is allowed to do in the product, in the product's own words
        (``"system-admin"``); ``resource`` the path that the login is for, which matters to the allowlist of
        ``LoginChannel.BASIC``.

        >>> client.evaluate_login(user_id="nobody", channel=LoginChannel.FORM).decision
        <Decision.ALLOW: 'ALLOW'>
        """
        return answers.login(self._connection.evaluate_login(user_id, answers.texts(authorities), channel, resource, request_id, ip_address, user_agent).wait())

    def verify(
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
        """Checks the second step of a login: a code, or the recovery key.

        Name the session that logs in, and the same proof elevates it. A recovery key works once; show the user
        the ``recovery_key`` of the answer before anything else.

        Raises :class:`ProofError` where the proof is not accepted, :class:`BlockedError` within the wait after
        failures, :class:`StateError` ``NOT_ENROLLED``.

        >>> client.verify(user_id="nobody", totp_code="373416")
        Traceback (most recent call last):
            ...
        twinlock.StateError: No enrollment found for this user.
        """
        return answers.verification(self._connection.verify(user_id, session_id, totp_code, recovery_key, request_id, ip_address, user_agent).wait())

    def elevate(
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
        """Proves identity again, so that one session may do sensitive things for a while (10 minutes by default).

        Give one proof: ``totp_code``, ``recovery_key``, ``password``, or ``asserted``, the product's word that it
        has just proved identity by its own means, and which (``"password"``, ``"saml"``). The last two elevate
        users who are not enrolled, and no others. ``password_hash`` is the verifier from the product's own user
        table, for a password that was not stored by :meth:`set_password`.

        Raises :class:`ProofError`, :class:`BlockedError`; :class:`StateError` ``SECOND_FACTOR_REQUIRED``,
        ``NO_PASSWORD``, ``NOT_ENROLLED`` or ``ASSERTION_NOT_ALLOWED``.

        >>> client.elevate(user_id="alice", session_id="web-1", asserted="password").elevation.method
        <Method.ASSERTED: 'ASSERTED'>
        """
        return answers.elevated(self._connection.elevate(user_id, session_id, totp_code, recovery_key, password, password_hash, asserted, request_id, ip_address, user_agent).wait())

    def check_elevation(
        self,
        *,
        user_id: str,
        session_id: str,
        max_age: timedelta | None = None,
    ) -> Elevation:
        """Says how a session is elevated now, by a proof of at most ``max_age``.

        Raises :class:`ElevationRequiredError` where it is not.

        >>> client.check_elevation(user_id="nobody", session_id="web-1")
        Traceback (most recent call last):
            ...
        twinlock.ElevationRequiredError: This needs a recent proof of identity from this session. Call Elevate first.
        """
        return answers.elevation(self._connection.check_elevation(user_id, session_id, max_age).wait())

    def drop_elevation(
        self,
        *,
        user_id: str,
        session_id: str | None = None,
        all_sessions: bool = False,
    ) -> None:
        """Ends a session's elevation, at logout for instance; with ``all_sessions`` those of the whole user.

        It is sent once; you may simply call it again.

        >>> client.drop_elevation(user_id="alice", all_sessions=True)
        """
        self._connection.drop_elevation(user_id, session_id, all_sessions).wait()

    def enroll(
        self,
        *,
        user_id: str,
        session_id: str,
        account_name: str | None = None,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> PendingEnrollment:
        """Starts an enrollment: makes a new secret that stays pending until it is confirmed in the same session.

        ``account_name`` is what the app shows, the user id where it is left out. An authenticator that is already
        active stays active until then.

        Raises :class:`ElevationRequiredError`: call :meth:`elevate` first.

        >>> proved = client.elevate(user_id="erin", session_id="web-1", asserted="password")
        >>> pending = client.enroll(user_id="erin", session_id="web-1", account_name="erin@example.com")
        >>> pending.qr_svg[:4], len(pending.secret)
        ('<svg', 32)
        """
        return answers.pending(self._connection.enroll(user_id, session_id, account_name, request_id, ip_address, user_agent).wait())

    def confirm_enrollment(
        self,
        *,
        user_id: str,
        session_id: str,
        totp_code: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> ConfirmedEnrollment:
        """Proves that the authenticator app holds the pending secret, and makes it the active one.

        Show the user the ``recovery_key`` of the answer.

        Raises :class:`ProofError`, :class:`BlockedError`; :class:`StateError` ``NO_PENDING_ENROLLMENT``.

        >>> from twinlock import totp
        >>> proved = client.elevate(user_id="frank", session_id="web-1", asserted="password")
        >>> pending = client.enroll(user_id="frank", session_id="web-1")
        >>> code = totp.generate(pending.secret)  # what the app shows
        >>> confirmed = client.confirm_enrollment(user_id="frank", session_id="web-1", totp_code=code)
        >>> len(confirmed.recovery_key)
        29
        """
        return answers.confirmed(self._connection.confirm_enrollment(user_id, session_id, totp_code, request_id, ip_address, user_agent).wait())

    def unenroll(
        self,
        *,
        user_id: str,
        session_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        """Turns two-step verification off for a user whose session was elevated by a second factor.

        Raises :class:`ElevationRequiredError`; :class:`StateError` ``NOT_ENROLLED``.

        >>> client.unenroll(user_id="nobody", session_id="web-1")
        Traceback (most recent call last):
            ...
        twinlock.StateError: No enrollment found for this user.
        """
        self._connection.unenroll(user_id, session_id, request_id, ip_address, user_agent).wait()

    def describe_user(
        self,
        *,
        user_id: str,
    ) -> User:
        """Says what is known of a user, without any secret. Somebody unknown is an empty answer.

        >>> client.describe_user(user_id="nobody").enrolled
        False
        """
        return answers.user(self._connection.describe_user(user_id).wait())

    def rotate_recovery_key(
        self,
        *,
        user_id: str,
        session_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> RecoveryKey:
        """Replaces the recovery key; the session needs an elevation by second factor.

        Raises :class:`ElevationRequiredError`; :class:`StateError` ``NOT_ENROLLED``.

        >>> from twinlock import totp
        >>> secret = totp.generate_secret()
        >>> uri = totp.build_uri(secret, issuer="Acme", account_name="grace")
        >>> client.import_enrollment(user_id="grace", otpauth_uri=uri)
        >>> done = client.verify(user_id="grace", totp_code=totp.generate(secret), session_id="web-1")
        >>> issued = client.rotate_recovery_key(user_id="grace", session_id="web-1")
        >>> len(issued.recovery_key)
        29
        """
        return answers.rotated(self._connection.rotate_recovery_key(user_id, session_id, request_id, ip_address, user_agent).wait())

    def acknowledge_recovery_key(
        self,
        *,
        user_id: str,
        recovery_key_create_time: datetime,
    ) -> None:
        """Records that the user has said that the current recovery key is stored safely.

        ``recovery_key_create_time`` is that of the answer that showed the key. It is sent once; you may simply
        call it again.

        >>> from twinlock import totp
        >>> secret = totp.generate_secret()
        >>> uri = totp.build_uri(secret, issuer="Acme", account_name="heidi")
        >>> issued = client.import_enrollment(user_id="heidi", otpauth_uri=uri, issue_recovery_key=True)
        >>> client.acknowledge_recovery_key(
        ...     user_id="heidi", recovery_key_create_time=issued.recovery_key_create_time
        ... )
        >>> client.describe_user(user_id="heidi").recovery_key_acknowledged
        True
        """
        self._connection.acknowledge_recovery_key(user_id, recovery_key_create_time).wait()

    def set_password(
        self,
        *,
        user_id: str,
        password: str | None = None,
        password_hash: str | None = None,
    ) -> None:
        """Stores the password with which a user can elevate before enrollment, or its hash: a PHC string, a bcrypt
        string, or one of Django's.

        It is sent once; you may simply call it again.

        >>> client.set_password(user_id="carol", password="correct horse")
        >>> client.elevate(user_id="carol", session_id="web-1", password="correct horse").elevation.method
        <Method.PASSWORD: 'PASSWORD'>
        """
        self._connection.set_password(user_id, password, password_hash).wait()

    def clear_password(
        self,
        *,
        user_id: str,
    ) -> None:
        """Removes the stored password. It is sent once; you may simply call it again.

        >>> client.clear_password(user_id="carol")
        """
        self._connection.clear_password(user_id).wait()

    def unenroll_user(
        self,
        *,
        admin_user_id: str,
        totp_code: str,
        user_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        """Turns two-step verification off for a user who lost app and recovery key. The administrator proves it with
        a code of their own. Needs the role ``admin``.

        Raises :class:`ProofError`, :class:`BlockedError`, :class:`CallerError`; :class:`StateError`
        ``SELF_UNENROLL``, ``ADMIN_NOT_ENROLLED``, ``USER_NOT_FOUND`` or ``NOT_ENROLLED``.

        >>> from twinlock import totp
        >>> secret = totp.generate_secret()
        >>> uri = totp.build_uri(secret, issuer="Acme", account_name="ivan")
        >>> client.import_enrollment(user_id="ivan", otpauth_uri=uri)
        >>> client.import_enrollment(user_id="root", otpauth_uri=uri)
        >>> client.unenroll_user(admin_user_id="root", totp_code=totp.generate(secret), user_id="ivan")
        >>> client.describe_user(user_id="ivan").enrolled
        False
        """
        self._connection.unenroll_user(admin_user_id, totp_code, user_id, request_id, ip_address, user_agent).wait()

    def clear_backoff(
        self,
        *,
        admin_user_id: str,
        totp_code: str,
        user_id: str,
        request_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        """Ends a user's wait after a mishap or an attack; needs the same proof and role as :meth:`unenroll_user`, and
        raises the same.

        >>> from twinlock import totp
        >>> secret = totp.generate_secret()
        >>> uri = totp.build_uri(secret, issuer="Acme", account_name="judy")
        >>> client.import_enrollment(user_id="judy", otpauth_uri=uri)
        >>> client.import_enrollment(user_id="admin", otpauth_uri=uri)
        >>> client.clear_backoff(admin_user_id="admin", totp_code=totp.generate(secret), user_id="judy")
        """
        self._connection.clear_backoff(admin_user_id, totp_code, user_id, request_id, ip_address, user_agent).wait()

    def import_enrollment(
        self,
        *,
        user_id: str,
        otpauth_uri: str,
        issue_recovery_key: bool = False,
        request_id: str | None = None,
    ) -> RecoveryKey | None:
        """Takes over an authenticator that another system enrolled; gives a recovery key where one was asked for.
        Needs the role ``admin``.

        Raises :class:`StateError` ``ALREADY_ENROLLED``; :class:`RequestError` for a URI that is not one.

        >>> from twinlock import totp
        >>> secret = totp.generate_secret()
        >>> uri = totp.build_uri(secret, issuer="Acme", account_name="mallory")
        >>> client.import_enrollment(user_id="mallory", otpauth_uri=uri)
        >>> client.import_enrollment(user_id="mallory", otpauth_uri=uri)
        Traceback (most recent call last):
            ...
        twinlock.StateError: This user is enrolled already. Unenroll the user before the import.
        """
        return answers.issued(self._connection.import_enrollment(user_id, otpauth_uri, issue_recovery_key, request_id).wait())

    def erase_user(
        self,
        *,
        user_id: str,
        request_id: str | None = None,
    ) -> None:
        """Forgets a user whom the product has deleted, so that a reused id inherits nothing. Needs the role
        ``operator``.

        Raises :class:`StateError` ``USER_NOT_FOUND``.

        >>> client.set_password(user_id="dave", password="correct horse")
        >>> client.erase_user(user_id="dave")
        """
        self._connection.erase_user(user_id, request_id).wait()

    def reset_user(
        self,
        *,
        user_id: str,
        why: str,
        request_id: str | None = None,
    ) -> None:
        """Unenrolls a user without an administrator's proof: the way out when the last administrator lost everything.
        ``why`` is for the audit trail. Needs the role ``operator``.

        Raises :class:`StateError` ``USER_NOT_FOUND`` or ``NOT_ENROLLED``.

        >>> client.reset_user(user_id="nobody", why="lost phone and recovery key, ticket 4711")
        Traceback (most recent call last):
            ...
        twinlock.StateError: Nothing is known of this user. Check the user_id.
        """
        self._connection.reset_user(user_id, why, request_id).wait()

    def check_health(
        self,
        *,
        service: str = "",
    ) -> bool:
        """Whether the server says that it can be used now, or one service of it: ``"twinlock.v1.TwoStepService"``.

        >>> client.check_health()
        True
        """
        return self._connection.check_health(service).wait()

    def watch_events(self, *, after_event_id: str | None = None) -> EventStream:
        """Watches what happens to the users of the caller's namespace, from now on or after an event that is
        still kept. Needs the role ``admin``.

        It returns once the server is watching. The iterator ends in :class:`UnavailableError` when the server stops,
        or when it is read so slowly that events were missed; then watch again after the last ``event_id``.

        >>> with client.watch_events() as events:
        ...     client.set_password(user_id="niaj", password="correct horse")
        ...     event = next(events)
        ...     event.type, event.user_id
        ('PASSWORD_SET', 'niaj')
        """
        return EventStream(self._connection.watch_events(after_event_id).wait())


class EventStream:
    """Events as they happen: an iterator, and a context manager that ends the watch."""

    def __init__(self, watch: _native.Watch) -> None:
        self._watch: _native.Watch | None = watch
        self._missed_events = watch.missed_events

    @property
    def missed_events(self) -> bool:
        """Whether events after the one that was named are no longer kept, so that some are missing."""
        return self._missed_events

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        watch = self._watch
        event = None if watch is None else watch.next().wait()
        if event is None:
            raise StopIteration
        return answers.event(event)

    def close(self) -> None:
        """Ends the watch, also for whoever waits for its next event."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

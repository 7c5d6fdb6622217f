"""A user with an authenticator app, which is another implementation than the one under test."""

from __future__ import annotations

import itertools
import os
import time

import pyotp
from pyotp.totp import TOTP
from twinlock import Client

_numbers = itertools.count()


class User:
    """Enrolled, with the code of the step before now used up: those of this one and the next are good."""

    def __init__(self, client: Client, user_id: str | None = None) -> None:
        self.user_id = user_id or f"user-{os.getpid()}-{next(_numbers)}"
        self.session_id = f"{self.user_id}-setup"
        client.elevate(user_id=self.user_id, session_id=self.session_id, asserted="password")
        pending = client.enroll(user_id=self.user_id, session_id=self.session_id)
        app = pyotp.parse_uri(pending.otpauth_uri)
        assert isinstance(app, TOTP)
        self.app = app
        calm_step()
        self._last = int(time.time()) // 30 - 1
        confirmed = client.confirm_enrollment(
            user_id=self.user_id,
            session_id=self.session_id,
            totp_code=self.app.at(self._last * 30),
        )
        self.recovery_key = confirmed.recovery_key
        self.key_time = confirmed.recovery_key_create_time

    def code(self) -> str:
        """The earliest code that was not shown yet. The third one must be waited for."""
        calm_step()
        step = max(self._last + 1, int(time.time()) // 30 - 1)
        time.sleep(max(0.0, (step - 1) * 30 - time.time()))
        self._last = step
        return self.app.at(step * 30)

    def wrong_code(self) -> str:
        """One that the app shows nowhere near now."""
        now = int(time.time())
        near = {self.app.at(now + 30 * offset) for offset in range(-4, 5)}
        return next(code for code in map("{:06}".format, itertools.count()) if code not in near)


def calm_step() -> None:
    """Waits where the present step ends so soon that a code might lapse on its way."""
    left = 30 - time.time() % 30
    if left < 4:
        time.sleep(left + 0.05)

"""One-time codes (RFC 6238) without a server.

Whoever verifies codes in their own process keeps four promises by themselves: each code is used once
(``last_step``), failures are counted and slow down guesses (:class:`Backoff`), both change in the one transaction
that makes the verdict, and the secret is kept encrypted. The server keeps all four.

>>> from twinlock import ProofError, totp
>>> secret = totp.generate_secret()
>>> uri = totp.build_uri(secret, issuer="Acme", account_name="alice@example.com")
>>> code = totp.generate(secret, at=1_700_000_000)
>>> step = totp.verify(secret, code, at=1_700_000_000)
>>> try:
...     totp.verify(secret, code, at=1_700_000_000, last_step=step)
... except ProofError as error:
...     print(error.reason, error.retry_after)
CODE_ALREADY_USED 0:00:10

Times are a ``datetime`` with a time zone, or seconds since the Unix epoch; where they are left out, now.
``algorithm`` is ``"SHA1"`` (the default), ``"SHA256"`` or ``"SHA512"``; ``digits`` 6 (the default), 7 or 8;
``period`` 1 to 86,400 seconds, 30 by default. The defaults are what every authenticator app supports.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import _native
from ._backoff import Backoff
from ._native import build_uri, generate, generate_secret, qr_svg, verify

__all__ = [
    "Backoff",
    "OtpauthUri",
    "build_uri",
    "generate",
    "generate_secret",
    "parse_uri",
    "qr_svg",
    "verify",
]


@dataclass(frozen=True, slots=True)
class OtpauthUri:
    """What an ``otpauth://totp/`` URI says."""

    secret: str = field(repr=False)
    """Base32 without padding."""
    issuer: str | None
    account_name: str | None
    algorithm: str
    digits: int
    period: int
    """In seconds."""


def parse_uri(uri: str) -> OtpauthUri:
    """Reads the URI that this or another system has made for an authenticator app.

    Raises :class:`RequestError` for another scheme or type than ``otpauth://totp/``, a secret that is missing, not
    base32 or outside 80 to 1,024 bits, a parameter that is given twice, and what the parameters do not allow.

    >>> from twinlock import totp
    >>> totp.parse_uri("otpauth://totp/Acme:alice?secret=JBSWY3DPEHPK3PXP&digits=8&period=15")
    OtpauthUri(issuer='Acme', account_name='alice', algorithm='SHA1', digits=8, period=15)
    """
    return OtpauthUri(*_native.parse_uri(uri))

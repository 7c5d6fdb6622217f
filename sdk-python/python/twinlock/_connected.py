"""What both clients are: one connection, and how it is made."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import TypeVar

from . import _answers as answers

C = TypeVar("C", bound="Connected")


class Connected:
    """The part of a client that does not depend on how its calls are waited for."""

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        timeout: timedelta = answers.DEFAULT_TIMEOUT,
        tls_ca: bytes | None = None,
        tls_certificate: bytes | None = None,
        tls_key: bytes | None = None,
    ) -> None:
        self._connection = answers.connection(
            address, token, timeout, tls_ca, tls_certificate, tls_key
        )

    def with_timeout(self: C, timeout: timedelta) -> C:
        """A client over the same connection, with another deadline for each call. To close one of them leaves the
        other open.

        >>> client.with_timeout(timedelta(milliseconds=500)).check_health()
        True
        """
        other = copy.copy(self)
        other._connection = self._connection.with_timeout(timeout)
        return other

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._connection.address

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.address!r}>"

"""The server's schedule of waits, for a product that counts failures by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from . import _native


@dataclass(frozen=True, slots=True)
class Backoff:
    """The growing wait after consecutive failures.

    The first ``tolerated_failures`` (0 to 10) cost nothing, the next one costs ``initial``, and each further one
    twice as much, up to ``maximum`` (1 ms to 30 days). ``hard_limit`` failures lock for good. The product keeps
    two values of each user, the number of consecutive failures and the time of the last one, and changes them in
    one transaction with its verdict: what is counted later can be outrun by parallel guesses.

    >>> from twinlock import Backoff
    >>> backoff = Backoff()
    >>> [int(backoff.wait(failures).total_seconds()) for failures in range(1, 16)]
    [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]

    Raises :class:`RequestError` for a setting that is out of its range.
    """

    tolerated_failures: int = 1
    initial: timedelta = timedelta(seconds=1)
    maximum: timedelta = timedelta(hours=1)
    hard_limit: int | None = None

    def __post_init__(self) -> None:
        self.wait(0)

    def wait(self, failures: int) -> timedelta:
        """How long failure number ``failures`` blocks further attempts."""
        return _native.backoff_wait(self._setting, failures)

    def check(
        self,
        failures: int,
        last_failure: datetime | float | None,
        *,
        at: datetime | float | None = None,
    ) -> int:
        """Raises where an attempt must not be looked at yet; call it before a code is compared.

        ``last_failure`` and ``at`` (now, where it is left out) are a ``datetime`` with a time zone or seconds
        since the epoch; ``last_failure`` may be ``None`` where there are no failures.

        Gives the number of failures that still count, to be kept plus one if this attempt fails: they are
        forgotten a day after the end of their wait (24 times ``maximum``, where that is longer), and never while
        there is a ``hard_limit``. An attempt that raises here is not counted.

        Raises :class:`BlockedError`: ``BACKOFF`` with ``retry_after``, or ``LOCKED``. Where the clock stands before
        ``last_failure``, the whole wait is left: keep the present time in its place.

        >>> from twinlock import Backoff, BlockedError
        >>> Backoff().check(1, 1_000.0, at=1_000.0)
        1
        >>> try:
        ...     Backoff().check(3, 1_000.0, at=1_000.5)
        ... except BlockedError as error:
        ...     print(error.retry_after)
        0:00:01.500000
        """
        return _native.backoff_check(self._setting, failures, last_failure, at)

    @property
    def _setting(self) -> tuple[int, timedelta, timedelta, int | None]:
        return (self.tolerated_failures, self.initial, self.maximum, self.hard_limit)

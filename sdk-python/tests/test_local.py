"""Codes, URIs, recovery keys and the schedule of waits, against the standards and another implementation."""

from __future__ import annotations

import base64
import hashlib
import math
import pickle
import struct
import time
import traceback
from datetime import datetime, timedelta, timezone
from typing import Any

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyotp.hotp import HOTP
from pyotp.totp import TOTP
from twinlock import (
    Backoff,
    BlockedError,
    InternalError,
    ProofError,
    RequestError,
    _native,
    recovery,
    totp,
)

from .server import REPOSITORY

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
secrets = st.binary(min_size=14, max_size=128)
"""The other implementation takes no shorter ones."""
algorithms = st.sampled_from(["SHA1", "SHA256", "SHA512"])
digit_counts = st.sampled_from([6, 7, 8])
periods = st.integers(1, 86_400)
times = st.integers(0, 4_000_000_000)


def base32(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=")


def other(secret: str, algorithm: str, digits: int) -> HOTP:
    """By step and not by time, since the other implementation takes no longer period than two minutes."""
    return HOTP(secret, digits=digits, digest=getattr(hashlib, algorithm.lower()))


@given(secrets, algorithms, digit_counts, periods, times)
def test_codes_are_those_of_another_implementation(
    secret: bytes, algorithm: str, digits: int, period: int, at: int
) -> None:
    text = base32(secret)
    code = totp.generate(text, at=at, algorithm=algorithm, digits=digits, period=period)
    assert code == other(text, algorithm, digits).at(at // period)


@given(secrets, algorithms, digit_counts, periods, times, st.integers(-4, 4), st.integers(0, 2))
def test_a_code_is_accepted_within_the_window_alone(
    secret: bytes, algorithm: str, digits: int, period: int, at: int, offset: int, window: int
) -> None:
    text, step = base32(secret), at // period
    app = other(text, algorithm, digits)
    if step + offset < 0:
        return
    code = app.at(step + offset)
    near = range(max(0, step - window), step + window + 1)
    matching = [step for step in near if app.at(step) == code]
    settings: dict[str, Any] = {"algorithm": algorithm, "digits": digits, "period": period}
    if matching:
        # Where two steps have one code, it uses up both.
        assert totp.verify(text, code, at=at, window=window, **settings) == matching[-1]
        with pytest.raises(ProofError) as used:
            totp.verify(text, code, at=at, window=window, last_step=matching[-1], **settings)
        assert used.value.reason == "CODE_ALREADY_USED"
        assert used.value.retry_after == timedelta(seconds=period - at % period)
    else:
        with pytest.raises(ProofError) as wrong:
            totp.verify(text, code, at=at, window=window, **settings)
        assert wrong.value.reason == "INVALID_CODE"


def test_the_vectors_of_rfc_6238() -> None:
    file = REPOSITORY / "crates" / "core" / "vectors" / "rfc6238-appendix-b.txt"
    rows = [line.split() for line in file.read_text().splitlines() if line and line[0] != "#"]
    for at, step, code, algorithm in rows:
        length = {"SHA1": 20, "SHA256": 32, "SHA512": 64}[algorithm]
        secret = base32((b"1234567890" * 7)[:length])
        settings: dict[str, Any] = {"at": int(at), "algorithm": algorithm, "digits": 8}
        assert totp.generate(secret, **settings) == code
        assert totp.verify(secret, code, **settings) == int(step, 16)
    assert len(rows) == 18


MALFORMED = {
    "nothing": "",
    "short": "12345",
    "long": "123456789",
    "letters": "12345a",
    "fullwidth": "１２３４５６",
    "arabic": "١٢٣٤٥٦",
    "superscript": "¹²³⁴⁵⁶",
    "blank before": " 123456",
    "blank after": "123456 ",
    "blank within": "123 456",
    "line end": "123456\n",
    "no-break space": "123456\u00a0",
    "sign": "+12345",
    "minus": "-12345",
    "point": "1234.5",
    "null": "12345\0",
    "surrogate": "12345\ud800",
    "endless": "1" * 1_000_000,
    "seven digits": "1234567",
}


@pytest.mark.parametrize("code", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_code_is_malformed(code: str) -> None:
    with pytest.raises(ProofError) as error:
        totp.verify(SECRET, code, at=0)
    assert (error.value.reason, error.value.code) == ("MALFORMED_CODE", "INVALID_ARGUMENT")
    assert error.value.fields == ("totp_code",)
    assert code == "" or code not in str(error.value)


@given(st.text())
def test_no_text_passes_for_a_code_or_surprises(text: str) -> None:
    with pytest.raises(ProofError) as error:
        totp.verify(SECRET, text, at=0, window=0)
    is_code = len(text) == 6 and text.isascii() and text.isdigit()
    assert error.value.reason == ("INVALID_CODE" if is_code else "MALFORMED_CODE")


@pytest.mark.parametrize(
    "secret",
    ["", "A", "JBSWY3DP", "JBSWY3DPEHPK3PX1", "JBSWY3DP EHPK3PXP", "ＪBSWY3DPEHPK3PXP"]
    + ["\ud800" * 16, "A" * 206, "JBSWY3DPEHPK3PXP=======", "é" * 16],
)
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    for function in (
        lambda: totp.verify(secret, "123456"),
        lambda: totp.generate(secret),
        lambda: totp.build_uri(secret, issuer="Acme", account_name="alice"),
    ):
        with pytest.raises(RequestError) as error:
            function()
        assert error.value.fields == ("secret",)
        assert len(secret) < 2 or secret not in repr(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("at", at) for at in (-1, -0.5, -(2**70), 2**70, math.nan, math.inf, 1e300)],
        ("at", datetime(1969, 12, 31, tzinfo=timezone.utc)),
        ("at", datetime(2026, 1, 1)),
        *[("window", window) for window in (-1, 3, 2**70)],
        *[("digits", digits) for digits in (-6, 0, 5, 9, 2**70)],
        *[("period", period) for period in (-30, 0, 86_401, 2**70)],
        *[("last_step", step) for step in (-1, 2**64)],
        *[("algorithm", name) for name in ("", "MD5", "SHA-1", "\ud800")],
    ],
)
def test_settings_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(RequestError) as error:
        totp.verify(SECRET, "123456", **{name: value})
    assert (error.value.reason, error.value.fields) == ("INVALID_REQUEST", (name,))


def test_tracebacks_name_the_public_module() -> None:
    with pytest.raises(ProofError) as error:
        totp.verify(SECRET, "")
    last = traceback.format_exception_only(error.value)[-1]
    assert last.startswith("twinlock.ProofError: totp_code must be 6 to 8 digits")


@pytest.mark.parametrize("arguments", [(1, "1"), (SECRET, 123456), (SECRET, None), (SECRET, b"1")])
def test_wrong_types_are_type_errors(arguments: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError):
        totp.verify(*arguments)


def test_times_of_every_form_are_one_time() -> None:
    moment = datetime(2026, 3, 1, 12, 0, 29, 999_000, tzinfo=timezone.utc)
    elsewhere = moment.astimezone(timezone(timedelta(hours=-9)))
    forms: list[datetime | float] = [moment, elsewhere, moment.timestamp(), int(moment.timestamp())]
    codes = {totp.generate(SECRET, at=form) for form in forms}
    assert codes == {TOTP(SECRET).at(moment)}
    assert len(totp.generate(SECRET, at=253_402_300_799)) == 6


def test_a_time_that_is_left_out_is_now() -> None:
    before = TOTP(SECRET).now()
    code = totp.generate(SECRET)
    assert code in {before, TOTP(SECRET).now()}
    assert totp.verify(SECRET, code) in {int(time.time()) // 30 - late for late in (0, 1)}


names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)


@given(secrets, names, names, algorithms, digit_counts, periods)
def test_uris_can_be_read_back(
    secret: bytes, issuer: str, account: str, algorithm: str, digits: int, period: int
) -> None:
    text = base32(secret)
    settings: dict[str, Any] = {"algorithm": algorithm, "digits": digits, "period": period}
    uri = totp.build_uri(text, issuer=issuer, account_name=account, **settings)
    read = totp.parse_uri(uri)
    assert (read.secret, read.issuer) == (text, issuer.replace(":", "-"))
    assert read.account_name == account.lstrip(" ") or not account.strip(" ")
    assert (read.algorithm, read.digits, read.period) == (algorithm, digits, period)
    assert text not in repr(read)


def test_uris_are_those_of_another_implementation() -> None:
    uri = totp.build_uri(SECRET, issuer="Acme Inc.", account_name="alice@example.com")
    app = pyotp.parse_uri(uri)
    assert (app.secret, app.issuer, app.name) == (SECRET, "Acme Inc.", "alice@example.com")
    theirs = TOTP(SECRET, name="alice", issuer="Acme").provisioning_uri()
    assert totp.parse_uri(theirs).secret == SECRET


@given(st.text() | st.text().map(lambda text: f"otpauth://totp/{text}"))
def test_no_uri_surprises(text: str) -> None:
    try:
        totp.parse_uri(text)
    except RequestError as error:
        assert error.fields == ("otpauth_uri",)


def test_drawings() -> None:
    svg = totp.qr_svg(totp.build_uri(SECRET, issuer="Acme", account_name="alice"))
    assert svg.startswith("<svg ") and svg.endswith("</svg>") and SECRET not in svg
    for text in ("x" * 3_000, "\ud800"):
        with pytest.raises(RequestError) as error:
            totp.qr_svg(text)
        assert error.value.fields == ("text",)


def test_secrets_and_keys_are_random_and_of_their_form() -> None:
    drawn = {totp.generate_secret() for _ in range(100)}
    assert len(drawn) == 100 and {len(secret) for secret in drawn} == {32}
    keys = {recovery.generate() for _ in range(100)}
    assert len(keys) == 100
    assert all([len(group) for group in key.split("-")] == [5] * 5 for key in keys)


@given(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()))
def test_hashes_of_recovery_keys_are_plain_sha256(user: str) -> None:
    key = recovery.generate()
    parts = [b"default", user.encode(), key.replace("-", "").encode()]
    hashed = hashlib.sha256(b"twinlock recovery key 1")
    for part in parts:
        hashed.update(struct.pack(">Q", len(part)) + part)
    assert recovery.hash(key, user_id=user) == hashed.digest()


def test_a_recovery_key_belongs_to_one_user_of_one_namespace() -> None:
    key = recovery.generate()
    kept = recovery.hash(key, user_id="alice", namespace="shop")
    recovery.verify(key, kept, user_id="alice", namespace="shop")
    wrong = [
        (recovery.generate(), "alice", "shop"),
        (key, "bob", "shop"),
        (key, "alice", "bank"),
        (key, "Alice", "shop"),
    ]
    for presented, user, namespace in wrong:
        with pytest.raises(ProofError) as error:
            recovery.verify(presented, kept, user_id=user, namespace=namespace)
        assert error.value.reason == "INVALID_CODE"
    for typed in ("", "123456", key + "0", key[:-1] + "U", key + "\n", "７" + key[1:], "\ud800"):
        with pytest.raises(ProofError) as error:
            recovery.verify(typed, kept, user_id="alice", namespace="shop")
        assert error.value.reason == "MALFORMED_CODE"
        assert error.value.fields == ("recovery_key",)
    for arguments in ({"user_id": ""}, {"user_id": "\ud800"}, {"user_id": "a", "namespace": ""}):
        with pytest.raises(RequestError):
            recovery.hash(key, **arguments)
    with pytest.raises(RequestError):
        recovery.verify(key, kept[:-1], user_id="alice")


@given(st.integers(0, 10), st.integers(1, 10_000), st.integers(0, 200))
def test_waits_double_up_to_the_longest(tolerated: int, initial: int, failures: int) -> None:
    first, longest = timedelta(milliseconds=initial), timedelta(hours=1)
    backoff = Backoff(tolerated, first, longest)
    beyond = failures - tolerated
    expected = timedelta(0) if beyond <= 0 else min(longest, first * 2 ** min(beyond - 1, 40))
    assert backoff.wait(failures) == expected


def test_a_wait_ends_exactly() -> None:
    backoff = Backoff()
    assert backoff.check(0, None) == 0
    for at, left in [(100, 4.0), (103.999, 0.001)]:
        with pytest.raises(BlockedError) as error:
            backoff.check(4, 100, at=at)
        assert error.value.reason == "BACKOFF"
        assert error.value.retry_after == timedelta(seconds=left)
    assert backoff.check(4, 100, at=104) == 4
    # They are forgotten a day after the wait, and a lock never is.
    assert backoff.check(4, 100, at=103 + 86_400) == 4
    assert backoff.check(4, 100, at=104 + 86_400) == 0
    with pytest.raises(BlockedError) as locked:
        Backoff(hard_limit=4).check(4, 100, at=10**9)
    assert (locked.value.reason, locked.value.retry_after) == ("LOCKED", None)
    with pytest.raises(BlockedError):
        backoff.check(2, 2_000, at=1_000)
    with pytest.raises(RequestError):
        backoff.check(2, None)


@pytest.mark.parametrize(
    "setting",
    [
        {"tolerated_failures": 11},
        {"tolerated_failures": -1},
        {"initial": timedelta(0)},
        {"initial": timedelta(seconds=-1)},
        {"initial": timedelta(hours=2)},
        {"maximum": timedelta(days=31)},
        {"hard_limit": 1},
    ],
)
def test_schedules_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as error:
        Backoff(**setting)
    assert error.value.fields == tuple(setting)


def test_a_panic_surfaces_as_an_exception() -> None:
    _native.probe()
    with pytest.raises(InternalError) as error:
        _native.probe(True)
    assert isinstance(error.value, Exception)
    assert error.value.reason == "INTERNAL"


def test_errors_pickle() -> None:
    with pytest.raises(ProofError) as used:
        totp.verify(SECRET, totp.generate(SECRET, at=7), at=7, last_step=0)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(used.value, protocol)
        # They outlive a release in queues, so they name nothing private.
        assert b"twinlock" in pickled and b"_errors" not in pickled
        again = pickle.loads(pickled)
        assert isinstance(again, ProofError)
        assert (again.reason, again.code) == ("CODE_ALREADY_USED", "UNAUTHENTICATED")
        assert (again.retry_after, str(again)) == (timedelta(seconds=23), str(used.value))

"""Runs the scenario files of the repository; ``tests/README.md`` there documents the format."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import itertools
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pyotp.totp import TOTP
from twinlock import AsyncClient, Client, Decision, LoginChannel, Method, TwinlockError

from .server import REPOSITORY, Server

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DIRECTORY = REPOSITORY / "tests" / "scenarios"
MARGIN = 4.0
"""What must be left of a step where a code must not lapse on its way, in seconds."""

TIMEOUT = timedelta(seconds=20)
"""No scenario is about how fast the machine hashes passwords for all of them at once."""

UNSAYABLE = object()
"""The end of a call that the package's signatures do not let anybody make."""

STEP_KEYS = {"note", "include", "wait", "restart", "let", "call"}
CALL_KEYS = {"token", "request", "expect", "refused", "field", "retry_after", "save", "times"}
CALL_KEYS |= {"parallel", "outcome"}
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def files() -> list[Path]:
    return sorted(DIRECTORY.glob("*.toml"))


def read(path: Path) -> dict[str, Any]:
    """The file with the steps of included ones in their places. What the format does not know is an error."""
    scenario = tomllib.loads(path.read_text())
    assert set(scenario) <= {"about", "settings", "step"}, path
    steps = []
    for number, step in enumerate(scenario["step"], 1):
        extra = CALL_KEYS if "call" in step else set()
        assert set(step) <= STEP_KEYS | extra, f"{path.name}, step {number}: {set(step)}"
        if "include" in step:
            steps += read(DIRECTORY / "shared" / f"{step['include']}.toml")["step"]
        else:
            steps.append(step | {"place": f"{path.name}, step {number}"})
    return scenario | {"step": steps}


@cache
def reasons() -> dict[str, dict[str, Any]]:
    return tomllib.loads((REPOSITORY / "tests" / "reasons.toml").read_text())


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    assert found, text
    return int(found[1]) * UNITS[found[2]]


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name).lstrip("_")


def camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))


class Interface:
    """Calls the API by its own names through a client of the package."""

    name: str

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, method: str, token: str | None, request: dict[str, Any]) -> Any:
        raise NotImplementedError

    def close(self) -> None: ...


class Blocking(Interface):
    name = "client"

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._clients: dict[str | None, Client] = {}
        self._lock = threading.Lock()

    def call(self, method: str, token: str | None, request: dict[str, Any]) -> Any:
        with self._lock:
            if token not in self._clients:
                self._clients[token] = Client(self.address, token=token, timeout=TIMEOUT)
        function = getattr(self._clients[token], snake(method))
        return function(**arguments(function, request))

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


class Awaited(Interface):
    """On an event loop of its own thread, which all calls share."""

    name = "async"

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._clients: dict[str | None, AsyncClient] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, method: str, token: str | None, request: dict[str, Any]) -> Any:
        async def answer() -> Any:
            if token not in self._clients:
                self._clients[token] = AsyncClient(self.address, token=token, timeout=TIMEOUT)
            function = getattr(self._clients[token], snake(method))
            return await function(**arguments(function, request))

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def arguments(function: Callable[..., Any], request: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request in proto JSON as arguments. What the file leaves out is empty, which is what it
    means in protobuf, where the package asks for it."""
    given: dict[str, Any] = {}
    for name, value in request.items():
        if name == "client":
            given |= {snake(inner): text for inner, text in value.items()}
        elif name == "password" and isinstance(value, dict):
            given |= {snake(inner): text for inner, text in value.items()}
            given.setdefault("password", "")
        elif name == "asserted":
            given["asserted"] = value.get("how", "")
        elif name == "channel":
            given["channel"] = LoginChannel(value.removeprefix("LOGIN_CHANNEL_"))
        elif name == "maxAge":
            given["max_age"] = timedelta(seconds=float(value.removesuffix("s")))
        elif name.endswith("Time"):
            given[snake(name)] = parse_time(value)
        else:
            given[snake(name)] = value
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "recovery_key_create_time":
            continue
        if parameter.default is parameter.empty and parameter.name not in given:
            given[parameter.name] = LoginChannel.UNSPECIFIED if parameter.name == "channel" else ""
    return given


def json(value: Any) -> Any:
    """A result as proto JSON with default values written out."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Enum):
        prefix = {Method: "METHOD_", Decision: "DECISION_"}[type(value)]
        return prefix + value.value
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if is_dataclass(value):
        named = {camel(field.name): json(getattr(value, field.name)) for field in fields(value)}
        unset = {"recoveryKey": ""}
        return {
            name: unset.get(name) if inner is None else inner
            for name, inner in named.items()
            if inner is not None or name in unset
        }
    return value


class Life:
    """A scenario that is being run. An ``AssertionError`` says where and why it went wrong."""

    def __init__(self, scenario: dict[str, Any], server: Server, interface: type[Interface]) -> None:
        self._steps = scenario["step"]
        self._server = server
        self._kind = interface
        self._interface = interface(server.address)
        name = re.sub(r"\W+", "-", self._steps[-1]["place"].split(".")[0])
        self._variables = {"user": f"{name}-py-{interface.name}-{time.time_ns()}"}
        self._shown: dict[str, int] = {}
        self._not_before = 0.0
        self._last_wait: float | None = None

    def run(self) -> None:
        try:
            for step in self._steps:
                try:
                    self._step(step)
                except Exception as error:
                    raise AssertionError(f"{step['place']}: {error!r}") from error
        finally:
            self._interface.close()

    def _step(self, step: dict[str, Any]) -> None:
        if "wait" in step:
            wait = self._last_wait if step["wait"] == "retry_after" else seconds(step["wait"])
            assert wait is not None, "nothing said how long"
            time.sleep(wait)
        elif "restart" in step:
            self._interface.close()
            self._server.restart()
            self._interface = self._kind(self._server.address)
        elif "let" in step:
            for name in sorted(step["let"]):
                self._variables[name] = self._resolve(step["let"][name])
            self._pause()
        else:
            self._call(step)

    def _call(self, step: dict[str, Any]) -> None:
        method, count = step["call"], step.get("times", step.get("parallel", 1))
        request = self._resolve(step.get("request", {}))
        request.setdefault("userId", self._variables["user"])
        outcomes = step.get("outcome", [step | {"count": count}])
        self._pause()

        def one(number: int) -> Any:
            numbered = substitute(request, {"n": str(number)}) if count > 1 else request
            if method == "AcknowledgeRecoveryKey" and "recoveryKeyCreateTime" not in numbered:
                # Python itself refuses what lacks the time.
                with pytest.raises(TypeError):
                    self._interface.call(method, step.get("token"), numbered)
                return UNSAYABLE
            try:
                answer = json(self._interface.call(method, step.get("token"), numbered))
                # The package gives the one field of this answer itself, or none of it.
                answer = {"elevation": answer} if method == "CheckElevation" else answer
                return {"recoveryKey": ""} if method == "ImportEnrollment" and not answer else answer
            except TwinlockError as error:
                check(error)
                return error

        if "parallel" in step:
            with ThreadPoolExecutor(count) as threads:
                ends = list(threads.map(one, range(1, count + 1)))
        else:
            ends = [one(number) for number in range(1, count + 1)]

        counts = [0] * len(outcomes)
        for end in ends:
            differences = [self._difference(outcome, end) for outcome in outcomes]
            assert None in differences, f"{method}: {differences}, got {end!r}"
            counts[differences.index(None)] += 1
        assert counts == [outcome["count"] for outcome in outcomes], f"{method}: {counts}"

        for name, path in step.get("save", {}).items():
            value = ends[-1]
            for part in path.split("."):
                value = value[part]
            assert isinstance(value, str) and value, f"no text at {path}"
            self._variables[name] = value
        if isinstance(ends[-1], TwinlockError) and ends[-1].retry_after is not None:
            self._last_wait = ends[-1].retry_after.total_seconds()

    def _difference(self, expected: dict[str, Any], end: Any) -> str | None:
        if "expect" in expected:
            if isinstance(end, TwinlockError):
                return "expected an answer"
            return difference(substitute(expected["expect"], self._variables), end or {})
        if end is UNSAYABLE:
            return None if expected["refused"] == "INVALID_REQUEST" else "it cannot be said"
        if not isinstance(end, TwinlockError) or end.reason != expected["refused"]:
            return f"expected {expected['refused']}"
        if "field" in expected and expected["field"] not in end.fields:
            return f"expected the field {expected['field']}, got {end.fields}"
        bounds = expected.get("retry_after", {})
        wait = 0.0 if end.retry_after is None else end.retry_after.total_seconds()
        least = seconds(bounds.get("at_least", "0s"))
        most = seconds(bounds["at_most"]) if "at_most" in bounds else float("inf")
        return None if least <= wait <= most else f"expected a wait of {least} to {most}"

    def _pause(self) -> None:
        """Waits until the codes that were resolved are good."""
        time.sleep(max(0.0, self._not_before - time.time()))
        self._not_before = 0.0

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, str):
            return substitute(value, self._variables)
        if isinstance(value, list):
            return [self._resolve(inner) for inner in value]
        if isinstance(value, dict):
            if any("_" in key for key in value):
                return self._special(substitute(value, self._variables))
            return {name: self._resolve(inner) for name, inner in value.items()}
        return value

    def _special(self, table: dict[str, Any]) -> str:
        keys = set(table)
        if keys in ({"code_of"}, {"code_of", "offset"}):
            return self._code(table["code_of"], table.get("offset"))
        if keys == {"wrong_code_of"}:
            app, period = authenticator(table["wrong_code_of"])
            present = int(time.time()) // period
            near = {app.at(step * period) for step in range(present - 4, present + 5)}
            codes = (f"{number:0{app.digits}}" for number in itertools.count())
            return next(code for code in codes if code not in near)
        if keys == {"retyped_key"}:
            typed: str = table["retyped_key"].lower().replace("-", " ")
            return typed.replace("0", "o").replace("1", "l")
        assert keys == {"padded_text", "bytes"}, table
        text, size = str(table["padded_text"]), int(table["bytes"])
        return text + "x" * (size - len(text.encode()))

    def _code(self, uri: str, offset: int | None) -> str:
        app, period = authenticator(uri)
        now = time.time()
        present = int(now) // period
        is_calm = period - now % period >= MARGIN
        last = self._shown.get(uri)
        if offset is not None:
            begin = present if is_calm else present + 1
            step = begin + offset
        else:
            step = present - 1 if is_calm else present
            step = step if last is None else max(step, last + 1)
            begin = step - 1
        self._not_before = max(self._not_before, begin * period + 0.02)
        self._shown[uri] = step if last is None else max(last, step)
        return app.at(step * period)


def authenticator(uri: str) -> tuple[TOTP, int]:
    query = {name.lower(): value for name, value in parse_qsl(urlsplit(uri).query)}
    digest = getattr(hashlib, query.get("algorithm", "SHA1").lower())
    period = int(query.get("period", "30"))
    digits = int(query.get("digits", "6"))
    return TOTP(query["secret"], digits=digits, digest=digest, interval=period), period


def substitute(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda found: variables.get(found[1], found[0]), value)
    if isinstance(value, list):
        return [substitute(inner, variables) for inner in value]
    if isinstance(value, dict):
        return {name: substitute(inner, variables) for name, inner in value.items()}
    return value


def difference(expected: dict[str, Any], answer: dict[str, Any]) -> str | None:
    for name, value in expected.items():
        found = answer.get(name)
        if not isinstance(value, dict):
            if found != value:
                return f"{name} is not {value!r}"
        elif any("_" in key for key in value):
            ((special, wanted),) = value.items()
            is_set = found not in (None, "")
            if special == "is_set":
                holds = is_set is wanted
            elif special == "is_not":
                holds = is_set and found != wanted
            else:
                assert special == "seconds_from_now", special
                due = time.time() + wanted
                holds = isinstance(found, str) and abs(parse_time(found).timestamp() - due) <= 5
            if not holds:
                return f"{name} does not hold {special} = {wanted!r}"
        else:
            inner = f"{name} is missing" if found is None else difference(value, found)
            if inner:
                return f"{name}.{inner}"
    return None


def check(error: TwinlockError) -> None:
    """What every refusal says of its reason, and nothing else."""
    expected = reasons()[error.reason]
    assert error.code == expected["grpc"], error
    assert (error.retry_after is not None) == expected.get("retry_after", False), error
    assert len(error.fields) == int(expected.get("field", False)), (error, error.fields)
    assert error.message.endswith("."), error

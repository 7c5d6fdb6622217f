"""Every scenario file, through both clients and over both stores, many at the same time: they mostly wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from twinlock import Client

from . import scenario
from .server import Server

CASES = [
    pytest.param(path, interface, store, id=f"{interface.name}/{store}/{path.stem}")
    for path in scenario.files()
    for interface in (scenario.Blocking, scenario.Awaited)
    for store in ("embedded", "redis")
]
CLIENTS = {"client": "python", "async": "python-async"}
"""What the clients are called in the table of results."""

THREADS = 48
"""Some scenarios hold only where a call takes less than a second."""


class Stage:
    """Runs scenarios on servers; those with the same settings share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[str, Future[Server]] = {}
        self._threads = ThreadPoolExecutor(THREADS)
        self._runs: dict[tuple[Path, str, str], Future[None]] = {}

    def begin(self, path: Path, interface: type[scenario.Interface], store: str) -> None:
        run = self._threads.submit(self._run, path, interface, store)
        self._runs[path, interface.name, store] = run

    def end(self, path: Path, interface: type[scenario.Interface], store: str) -> None:
        end = "failed"
        try:
            self._runs[path, interface.name, store].result()
            end = "passed"
        finally:
            record(CLIENTS[interface.name], store, path.stem, end)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        for server in self._servers.values():
            server.result().close()

    def _run(self, path: Path, interface: type[scenario.Interface], store: str) -> None:
        life = scenario.read(path)
        restarts = any("restart" in step for step in life["step"])
        key = store + (f"{path}/{interface.name}" if restarts else repr(life.get("settings")))
        with self._lock:
            is_first = key not in self._servers
            future = self._servers.setdefault(key, Future())
        if is_first:
            try:
                file = toml(life.get("settings", {}))
                deadline = f"server.deadline={scenario.TIMEOUT.seconds}s"
                future.set_result(Server(deadline, file=file, redis=store == "redis"))
            except BaseException as error:
                future.set_exception(error)
        scenario.Life(life, future.result(), interface).run()


def record(client: str, store: str, name: str, end: str) -> None:
    """Adds a line to the table that ``tests/scenario_table`` prints."""
    if directory := os.environ.get("SCENARIO_RESULTS"):
        with Path(directory, client).open("a") as file:
            file.write(f"{client}\t{store}\t{name}\t{end}\n")


def toml(settings: dict[str, Any]) -> str:
    """The settings as a configuration file, all in inline values."""

    def write(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{name} = {write(inner)}" for name, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(write, value)) + "]"
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, (int, float)) else f'"{value}"'

    return "".join(f"{name} = {write(value)}\n" for name, value in settings.items())


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage()
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.function is test_scenario:
            case: dict[str, Any] = dict(item.callspec.params)
            stage.begin(case["path"], case["interface"], case["store"])
    yield stage
    stage.close()


@pytest.mark.parametrize(("path", "interface", "store"), CASES)
def test_scenario(
    path: Path, interface: type[scenario.Interface], store: str, stage: Stage
) -> None:
    stage.end(path, interface, store)


def test_every_method_is_called_by_a_scenario_or_tested_apart() -> None:
    called = set()
    for path in scenario.files():
        called |= {step["call"] for step in scenario.read(path)["step"] if "call" in step}
    names = {name for name in vars(Client) if not name.startswith("_")}
    apart = {"address", "close", "with_timeout", "check_health", "watch_events"}
    assert {scenario.snake(method) for method in called} == names - apart

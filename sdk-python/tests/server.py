"""The real server as a process of its own, on free ports of loopback, with a directory of its own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TWINLOCK_BINARY", REPOSITORY / "target" / "debug" / "twinlock"))


def bare_environment(**more: str) -> dict[str, str]:
    """The environment without what configures Twinlock, and with what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINLOCK_")}
    return kept | more


class Server:
    """Started on a new dataset, which is in a Redis of its own if that is wanted; killed when left."""

    def __init__(
        self,
        *settings: str,
        file: str | None = None,
        files: dict[str, bytes] | None = None,
        listen: str = "127.0.0.1:0",
        redis: bool = False,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="twinlock-")
        self.directory = Path(self._directory.name)
        self._redis = self._start_redis() if redis else None
        self._arguments: list[str] = []
        if redis:
            settings += ("store.kind=redis", f"store.redis.urls=unix://{self.directory}/redis.sock")
        if file is not None:
            (self.directory / "twinlock.toml").write_text(file)
            self._arguments += ["--config", "twinlock.toml"]
        for name, content in (files or {}).items():
            (self.directory / name).write_bytes(content)
        for setting in settings:
            self._arguments += ["--set", setting]
        self._listen = listen
        try:
            self._run("init", "--new-dataset")
            self._start()
        except BaseException:
            self._end_redis()
            self._directory.cleanup()
            raise

    def _start_redis(self) -> subprocess.Popen[str]:
        redis = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", "redis.sock", "--appendonly", "yes"],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert redis.stdout is not None
        while "eady to accept connections" not in (line := redis.stdout.readline()):
            assert line, "redis-server ended"
        return redis

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [BINARY, *command, *self._arguments],
            cwd=self.directory,
            env=bare_environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def _start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            probes = ["--set", "telemetry.listen=127.0.0.1:0"]
            self.process = subprocess.Popen(
                [BINARY, "serve", *self._arguments, "--listen", self._listen, *probes],
                cwd=self.directory,
                env=bare_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"is listening on (\S+)", line)
            if found:
                self.address = found[1]
            if "Probes are on" in line:
                return
        self.process.wait()
        raise AssertionError((self.directory / "log").read_text())

    def kill(self) -> None:
        """Kills it at once, as ``kill -9`` does."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def restart(self, *, listen: str | None = None) -> None:
        """Kills it, and starts it on the same data."""
        self.kill()
        self._listen = listen or self._listen
        self._start()

    def stop(self) -> None:
        """Tells it to stop, and waits until it has."""
        self.process.terminate()
        self.process.wait(30)

    def close(self) -> None:
        self.kill()
        self._end_redis()
        self._directory.cleanup()

    def _end_redis(self) -> None:
        if self._redis is not None:
            self._redis.kill()
            self._redis.communicate()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""The examples of the README and of the docstrings run as they stand."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import twinlock
import twinlock._answers
import twinlock._async_client
import twinlock._backoff
import twinlock._client
import twinlock._errors
import twinlock._results
import twinlock.fastapi
import twinlock.recovery
import twinlock.totp
from twinlock import Client, LoginChannel, _native

from .server import Server, bare_environment

README = (Path(__file__).parents[1] / "README.md").read_text()

MODULES = [
    twinlock,
    twinlock._async_client,
    twinlock._backoff,
    twinlock._client,
    twinlock._errors,
    twinlock.fastapi,
    twinlock.recovery,
    twinlock.totp,
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_docstrings(module: ModuleType, address: str) -> None:
    with Client(address) as client:
        known = {"client": client, "LoginChannel": LoginChannel}
        finder = doctest.DocTestFinder(exclude_empty=True)
        runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
        for test in finder.find(module, extraglobs=known):
            runner.run(test)
        # The finder passes over what is written in Rust.
        for name, value in vars(module).items():
            if inspect.isbuiltin(value) and value.__module__ == _native.__name__:
                test = doctest.DocTestParser().get_doctest(
                    inspect.getdoc(value) or "", dict(known), name, None, None
                )
                assert test.examples, f"{name} has no example"
                runner.run(test)
        assert runner.summarize(verbose=False).failed == 0
        if module is not twinlock:
            assert runner.tries > 0


def test_everything_public_says_what_it_is() -> None:
    for name in twinlock.__all__:
        value = getattr(twinlock, name)
        if isinstance(value, type):
            assert inspect.getdoc(value), name
            for inner, member in vars(value).items():
                if not inner.startswith("_") and callable(member):
                    assert inspect.getdoc(member), f"{name}.{inner}"


def blocks(heading: str) -> str:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))


def run(program: str, address: str) -> str:
    """Runs a program as somebody would who had pasted it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=bare_environment(TWINLOCK_ADDRESS=address),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_minute_with_the_server() -> None:
    with Server() as server:
        said = run(blocks("One minute with the server"), server.address)
    expected = "This code was used before. Wait for the next one and enter that."
    assert said == f"CODE_ALREADY_USED {expected}\nTrue\n"


def test_the_minute_without() -> None:
    run(blocks("One minute without") + "assert user['last_step'] and user['failures'] == 0", "")


def test_the_example_for_fastapi(address: str) -> None:
    section = README.split("`twinlock.fastapi` has")[1]
    example = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    check = """
from fastapi.testclient import TestClient
from twinlock import Client
with TestClient(app) as browser:
    assert browser.post("/payout").status_code == 403
    Client().elevate(user_id="alice", session_id="web-2", asserted="password")
    assert browser.post("/payout").json() == {"paid": True}
"""
    with Server() as server:
        run(example + check, server.address)


def test_the_names_in_the_example_for_django_exist() -> None:
    section = README.split("`twinlock.django` has")[1].split("`twinlock.fastapi` has")[0]
    imported = set(re.findall(r"from twinlock.django import (.*)", section)[0].split(", "))
    # Django's own modules cannot be imported before there are settings; test_django.py has them.
    assert twinlock.__file__ is not None
    source = Path(twinlock.__file__).with_name("django.py").read_text()
    defined = {node.name for node in ast.parse(source).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert imported and imported <= defined


def test_the_package_needs_neither_rust_nor_the_repository(tmp_path: Path) -> None:
    program = """
import sys, twinlock
from twinlock import totp
secret = totp.generate_secret()
totp.verify(secret, totp.generate(secret))
print(twinlock.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=tmp_path,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "site-packages" in done.stdout
    assert _native.__file__.endswith(".abi3.so")

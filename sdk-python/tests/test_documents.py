"""The examples of the README and of the docstrings run as they stand."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import twinlock
import twinlock._answers
import twinlock._async_client
import twinlock._backoff
import twinlock._client
import twinlock._connected
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
    twinlock._connected,
    twinlock.fastapi,
    twinlock.recovery,
    twinlock.totp,
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_docstrings(module: ModuleType, address: str) -> None:
    with Client(address) as client:
        known = {"client": client, "LoginChannel": LoginChannel}
        finder = doctest.DocTestFinder(exclude_empty=True)
        runner = doctest.DocTestRunner()
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
        assert runner.tries > 0


def test_everything_public_says_what_it_is() -> None:
    for name in twinlock.__all__:
        value = getattr(twinlock, name)
        if isinstance(value, type):
            assert inspect.getdoc(value), name
            for inner, member in vars(value).items():
                if not inner.startswith("_") and callable(member):
                    said = inspect.getdoc(member)
                    assert said, f"{name}.{inner}"
                    assert value is not Client or ">>> " in said, f"{inner} has no example"


def section(heading: str) -> str:
    return README.split(f"## {heading}\n")[1].split("\n## ")[0]


def blocks(heading: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", section(heading), re.DOTALL))


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


def test_the_example_for_fastapi() -> None:
    check = """
from fastapi.testclient import TestClient
from twinlock import Client, totp
with TestClient(app) as browser, Client() as client:
    assert browser.post("/login").json() == {"decision": "ALLOW"}
    who = {"user_id": "alice", "session_id": "web-1"}
    client.elevate(**who, asserted="password")
    secret = client.enroll(**who).secret
    now = time.time()
    client.confirm_enrollment(**who, totp_code=totp.generate(secret, at=now))
    assert browser.post("/login").json() == {"decision": "VERIFY"}
    assert browser.post("/payout").status_code == 403
    wrong = browser.post("/login/code", json={"code": totp.generate(secret, at=now)})
    assert (wrong.status_code, wrong.json()["reason"]) == (401, "CODE_ALREADY_USED")
    code = totp.generate(secret, at=now + 30)
    assert browser.post("/login/code", json={"code": code}).json() == {"verified": True}
    assert browser.post("/payout").json() == {"paid": True}
"""
    with Server() as server:
        run(f"import time\n{blocks('FastAPI')}{check}", server.address)


def test_the_example_for_django(tmp_path: Path) -> None:
    pages = re.findall(r"```html\n(.*?)```", section("Django"), re.DOTALL)
    names = ["twinlock_verify", "twinlock_recovery_key", "login"]
    (tmp_path / "registration").mkdir()
    for name, page in zip(names, [*pages, "{{ form.as_p }}"], strict=True):
        (tmp_path / "registration" / f"{name}.html").write_text(page)
    settings, urls = blocks("Django").split("# urls.py\n")
    before = f"""
{settings}
import re, sys, time
import django
from django.conf import settings
from django.http import HttpResponse
settings.configure(
    ALLOWED_HOSTS=["testserver"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    LOGIN_REDIRECT_URL="/payout/",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF="__main__",
    SECRET_KEY="not one",
    TEMPLATES=[
        {{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [{str(tmp_path)!r}]}}
    ],
    TWINLOCK=TWINLOCK,
    USE_TZ=True,
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
def payout(request):
    return HttpResponse("paid")
"""
    check = """
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client as Browser
from twinlock import Client, totp
client = Client(TWINLOCK["ADDRESS"])
def password(user):
    browser = Browser()
    form = {"username": user.username, "password": "correct horse"}
    return browser, browser.post("/login/", form)
alice = User.objects.create_user("alice", "alice@example.com", "correct horse")
browser, answer = password(alice)
assert answer["location"] == "/payout/"
who = {"user_id": str(alice.pk), "session_id": "setup"}
client.elevate(**who, asserted="password")
secret = client.enroll(**who).secret
now = time.time()
key = client.confirm_enrollment(**who, totp_code=totp.generate(secret, at=now)).recovery_key
browser, answer = password(alice)
assert answer["location"] == "/login/code/"
assert 'name="ticket"' in browser.get("/login/code/").content.decode()
answer = browser.post("/login/code/", {"code": totp.generate(secret, at=now + 30)}, follow=True)
assert answer.content == b"paid"
browser, answer = password(alice)
page = browser.post("/login/code/", {"code": key}).content.decode()
assert re.search("<code>[0-9A-Z-]{29}</code>", page)
stored = re.search('name="stored" value="([^"]+)"', page)[1]
assert browser.post("/login/code/", {"stored": stored}, follow=True).content == b"paid"
assert client.describe_user(user_id=who["user_id"]).recovery_key_acknowledged
assert [letter.to for letter in getattr(mail, "outbox", [])] == []
bob = User.objects.create_user("bob", "bob@example.com", "correct horse", is_staff=True)
browser, answer = password(bob)
assert "This account cannot log in here." in answer.content.decode()
assert [letter.to for letter in mail.outbox] == [["bob@example.com"]]
"""
    enforcement = '[enforcement]\nmode = "enforce"\nauthorities = ["staff"]\n'
    with Server(file=enforcement) as server:
        assert before.count("http://127.0.0.1:6238") == 1
        run(before.replace("http://127.0.0.1:6238", server.address) + urls + check, "")


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
    assert "LICENSE" in {path.name for path in metadata.files("twinlock") or ()}

"""Django's own test client against a real site, and that against a real server."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twinlock import Client, RequestError

from . import django_site
from .server import Server
from .user import User

_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    django_site.configure(server.address, tmp_path_factory.mktemp("django") / "database")
    yield
    from django.db import connections

    connections.close_all()


@pytest.fixture
def browser() -> Any:
    from django.test import Client as Browser

    return Browser(enforce_csrf_checks=False)


def account(*, staff: bool = False) -> Any:
    from django.contrib.auth.models import User as Account

    name = f"account-{next(_numbers)}"
    return Account.objects.create_user(name, password="correct horse", is_staff=staff)


def enrolled(client: Client) -> tuple[Any, User]:
    known = account()
    return known, User(client, str(known.pk))


def password(browser: Any, known: Any, **more: str) -> Any:
    form = {"username": known.username, "password": "correct horse"}
    return browser.post("/login/", form | more)


def code(browser: Any, text: str, url: str = "/login/code/") -> Any:
    return browser.post(url, {"code": text})


def who(browser: Any) -> str:
    return str(browser.get("/home/").content.decode())


def test_who_is_not_enrolled_logs_in_by_password(browser: Any) -> None:
    known = account()
    answer = password(browser, known, next="/payout/")
    assert (answer.status_code, answer["location"]) == (302, "/payout/")
    assert who(browser) == known.username


def test_who_is_enrolled_needs_the_second_step(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    answer = password(browser, known, next="/payout/")
    assert answer["location"] == "/login/code/" and who(browser) == "nobody"

    page = browser.get("/login/code/")
    assert page.status_code == 200 and page["cache-control"] == "no-store"
    assert 'autocomplete="one-time-code"' in page.content.decode()
    answer = code(browser, user.wrong_code())
    assert "This is not right" in answer.content.decode() and who(browser) == "nobody"
    answer = code(browser, "12345x")
    assert "neither a code nor a recovery key" in answer.content.decode()

    answer = code(browser, user.code())
    assert (answer.status_code, answer["location"]) == (302, "/payout/")
    assert who(browser) == known.username
    # The second step has elevated the session.
    assert browser.get("/payout/").content == b"paid"


def why(browser: Any) -> dict[str, Any]:
    said: dict[str, Any] = browser.get("/why/").json()
    return said


def test_a_product_learns_why_a_login_takes_two_steps(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known)
    decision = {"decision": "VERIFY", "reason": "ENROLLED", "notify": False}
    assert why(browser) == decision | {"remind_recovery_key": True}
    page = browser.get("/login/code/").content.decode()
    assert "ENROLLED" in page and "Make a new recovery key afterwards" in page
    code(browser, user.code())
    assert who(browser) == known.username
    assert why(browser) == decision | {"remind_recovery_key": True}
    # Who is logged in and proves identity again has no login that would have a reason.
    assert "ENROLLED" not in browser.get("/login/code/").content.decode()

    client.acknowledge_recovery_key(user_id=user.user_id, recovery_key_create_time=user.key_time)
    password(browser, known)
    assert why(browser) == decision | {"remind_recovery_key": False}
    page = browser.get("/login/code/").content.decode()
    assert "ENROLLED" in page and "Make a new recovery key" not in page


def test_a_product_learns_why_a_password_was_enough(browser: Any) -> None:
    assert why(browser) == {}
    password(browser, account())
    expected = {"decision": "ALLOW", "reason": "NOT_ENROLLED", "notify": False}
    assert why(browser) == expected | {"remind_recovery_key": False}


def test_who_newly_owes_an_enrollment_is_told_once(browser: Any, monkeypatch: Any) -> None:
    from twinlock import django as integration

    from django.core import mail

    settings = 'mode = "enforce"\nauthorities = ["staff"]\n'
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    # Whatever is decided: that a grace runs, that they must set it up now, or that they are refused.
    cases = [("1h", None, "GRACE_PERIOD"), ("0s", "/set-up/", "ENFORCED"), ("0s", None, "ENFORCED")]
    for grace, url, notified in cases:
        monkeypatch.setattr(integration.LoginMixin, "enroll_url", url)
        with Server(file=f'[enforcement]\n{settings}grace = "{grace}"\n') as strict:
            monkeypatch.setattr(integration, "client", lambda: Client(strict.address))
            known = account(staff=True)
            known.email = "staff@example.com"
            known.save()
            for _ in range(2):
                password(browser, known)
        assert [letter.body for letter in mail.outbox] == [notified]
        mail.outbox.clear()
        if url:
            assert why(browser)["decision"] == "ENROLL"


def test_what_a_visitor_left_in_the_session_stays(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    session = browser.session
    session["cart"] = ["apple"]
    session.save()
    before = session.session_key
    password(browser, known)
    between = browser.session.session_key
    code(browser, user.code())
    assert who(browser) == known.username and browser.session["cart"] == ["apple"]
    assert len({before, between, browser.session.session_key}) == 3
    # But not for the next one who logs in there.
    other, _ = enrolled(client)
    password(browser, other)
    assert "cart" not in browser.session and who(browser) == "nobody"


def test_a_code_may_have_a_blank_in_the_middle(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known)
    shown = user.code()
    code(browser, f" {shown[:3]} {shown[3:]} ")
    assert who(browser) == known.username


def test_a_used_code_and_a_wait_say_how_long(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    shown = user.code()
    client.verify(user_id=user.user_id, totp_code=shown)
    password(browser, known)
    said = code(browser, shown).content.decode()
    assert re.search(r"used before.* Try again in \d+ s", said, re.DOTALL)
    code(browser, user.wrong_code())
    said = code(browser, user.code()).content.decode()
    assert "Too many failed attempts. Try again in 1 s." in said and who(browser) == "nobody"


def test_the_recovery_key_works_once_and_shows_the_next(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known, next="/payout/")
    answer = code(browser, user.recovery_key.lower())
    said = answer.content.decode()
    key = re.search(r"<code>([0-9A-Z-]{29})</code>", said)
    assert key and key[1] != user.recovery_key and 'href="/login/code/"' in said
    # The page with the key was not the end of the login: its link is.
    assert answer["cache-control"] == "no-store" and who(browser) == "nobody"
    answer = browser.get("/login/code/")
    assert (answer.status_code, answer["location"]) == (302, "/payout/")
    assert answer["cache-control"] == "no-store" and who(browser) == known.username
    assert browser.get("/payout/").content == b"paid"
    client.verify(user_id=user.user_id, recovery_key=key[1])


def ticket(page: Any) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', page.content.decode())
    assert found
    return found[1]


def test_a_form_that_is_sent_again_gets_the_same_answer(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known, next="/payout/")
    form = {"code": user.recovery_key, "ticket": ticket(browser.get("/login/code/"))}
    answers = [browser.post("/login/code/", form).content for _ in range(2)]
    keys = [re.search(rb"<code>([0-9A-Z-]{29})</code>", answer) for answer in answers]
    assert keys[0] and keys[1] and keys[0][1] == keys[1][1]
    assert client.describe_user(user_id=user.user_id).second_factor_backoff.failures == 0
    # Another code in the same form is another request, and so is the same one in another form.
    form["code"] = user.wrong_code()
    again = browser.post("/login/code/", form)
    assert "This is not right" in again.content.decode() and ticket(again) != form["ticket"]
    again = browser.post("/login/code/", form | {"ticket": ticket(again)})
    assert client.describe_user(user_id=user.user_id).second_factor_backoff.failures == 2
    assert browser.get("/login/code/")["location"] == "/payout/" and who(browser) == known.username


def test_the_link_lets_in_nobody_who_presented_no_key(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known)
    code(browser, user.wrong_code())
    assert browser.get("/login/code/").status_code == 200 and who(browser) == "nobody"
    code(browser, user.recovery_key)
    # A login that began anew owes its second step again.
    password(browser, known)
    assert browser.get("/login/code/").status_code == 200 and who(browser) == "nobody"
    # Nor does it stand for somebody else, who needs no second step.
    known, user = enrolled(client)
    password(browser, known)
    code(browser, user.recovery_key)
    password(browser, other := account())
    assert browser.get("/login/code/").status_code == 200 and who(browser) == other.username


def test_the_second_step_belongs_to_the_password_before_it(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    assert code(browser, user.code())["location"] == "/login/"
    password(browser, known)
    # Somebody else's code is no proof, and a login that waited too long is over.
    _, other = enrolled(client)
    assert code(browser, other.code()).status_code == 200 and who(browser) == "nobody"
    session = browser.session
    session["_twinlock_pending"] = session["_twinlock_pending"] | {"since": 0}
    session.save()
    assert code(browser, user.code())["location"] == "/login/" and who(browser) == "nobody"
    known.is_active = False
    known.save()
    assert password(browser, known).status_code == 200


def test_something_sensitive_needs_a_recent_proof(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    answer = browser.get("/payout/?amount=7")
    assert answer["location"] == "/login/?next=%2Fpayout%2F%3Famount%3D7"
    password(browser, known)
    code(browser, user.code())
    client.drop_elevation(user_id=user.user_id, all_sessions=True)
    answer = browser.get("/payout/?amount=7")
    assert answer["location"] == "/login/code/?next=%2Fpayout%2F%3Famount%3D7"
    assert browser.post("/payout/").status_code == 403
    answer = code(browser, user.code(), answer["location"])
    assert answer["location"] == "/payout/?amount=7"
    assert browser.get("/payout/").content == b"paid"
    # It goes on to this site alone.
    answer = code(browser, user.wrong_code(), "/login/code/?next=https://elsewhere.example/")
    assert answer.status_code == 200


def test_an_awaited_view_needs_a_recent_proof_too(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    assert browser.get("/awaited/")["location"] == "/login/?next=%2Fawaited%2F"
    password(browser, known)
    code(browser, user.code())
    client.drop_elevation(user_id=user.user_id, all_sessions=True)
    answer = browser.get("/awaited/")
    assert answer["location"] == "/login/code/?next=%2Fawaited%2F"
    assert browser.post("/awaited/").status_code == 403
    code(browser, user.code(), answer["location"])
    assert browser.get("/awaited/").content == b"paid later"


def with_password(browser: Any, text: str) -> str:
    """Somebody who is logged in proves identity by the password; gives where that leads, or the page."""
    page = browser.get("/login/code/?next=/payout/")
    assert 'name="password"' in page.content.decode() and 'name="code"' not in page.content.decode()
    form = {"password": text, "ticket": ticket(page)}
    answer = browser.post("/login/code/?next=/payout/", form)
    return str(answer.get("location") or answer.content.decode())


def test_who_has_set_up_no_app_proves_it_by_the_password(browser: Any, client: Client) -> None:
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    known = account()
    # One that Twinlock reads, unlike that of the other tests.
    known.password = PBKDF2PasswordHasher().encode("correct horse ", "salt-and-pepper", 1_000)
    known.save()
    browser.force_login(known)
    assert browser.get("/payout/")["location"] == "/login/code/?next=%2Fpayout%2F"
    assert "This is not right" in with_password(browser, "correct horse")
    assert with_password(browser, "correct horse ") == "/payout/"
    assert browser.get("/payout/").content == b"paid"
    # Who guesses must wait, also for the right one.
    for _ in range(2):
        with_password(browser, "wrong")
    assert "Too many failed attempts. Try again in 1 s." in with_password(browser, "correct horse ")
    # Where there is an app, the password is not enough.
    User(client, str(known.pk))
    page = browser.get("/login/code/").content.decode()
    assert 'name="code"' in page and 'name="password"' not in page
    browser.post("/login/code/", {"password": "correct horse "})
    assert browser.get("/payout/").status_code == 302


def test_who_has_no_password_is_not_asked_for_it(browser: Any) -> None:
    known = account()
    known.set_unusable_password()
    known.save()
    browser.force_login(known)
    page = browser.get("/login/code/").content.decode()
    assert 'name="code"' in page and 'name="password"' not in page


def test_the_way_on_stays_on_the_site(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known)
    code(browser, user.code())
    answer = code(browser, user.recovery_key, "/login/code/?next=https://elsewhere.example/")
    assert 'href="/home/"' in answer.content.decode()


def test_a_session_of_another_user_does_not_stand_for_this_one(
    browser: Any, client: Client
) -> None:
    first = account()
    password(browser, first)
    second, user = enrolled(client)
    answer = password(browser, second)
    assert answer["location"] == "/login/code/" and who(browser) == "nobody"
    code(browser, user.code())
    assert who(browser) == second.username


def stored(page: Any) -> dict[str, str]:
    form = r'name="next" value="([^"]+)".*name="stored" value="([^"]+)"'
    found = re.search(form, page.content.decode(), re.DOTALL)
    assert found
    return {"next": found[1], "stored": found[2]}


def acknowledged(client: Client, user: User) -> bool:
    return client.describe_user(user_id=user.user_id).recovery_key_acknowledged


def test_who_has_stored_the_next_key_is_reminded_no_more(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known, next="/payout/")
    form = stored(code(browser, user.recovery_key))
    assert not acknowledged(client, user)
    answers = [browser.post("/login/code/", form)["location"] for _ in range(2)]
    assert answers == ["/login/code/"] * 2 and acknowledged(client, user)
    assert browser.get("/login/code/", follow=True).content == b"paid"
    assert who(browser) == known.username


def test_who_is_logged_in_and_has_stored_the_next_key_goes_on(browser: Any, client: Client) -> None:
    known, user = enrolled(client)
    password(browser, known)
    code(browser, user.code())
    url = "/login/code/?next=/payout/%3Famount%3D7"
    form = stored(code(browser, user.recovery_key, url))
    assert browser.post(url, form)["location"] == "/payout/?amount=7" and acknowledged(client, user)


def test_what_is_no_key_is_not_acknowledged_and_holds_nobody_up(
    browser: Any, client: Client, caplog: Any
) -> None:
    known, user = enrolled(client)
    # Not before the second step.
    password(browser, known)
    form = {"stored": user.key_time.isoformat()}
    assert browser.post("/login/code/", form)["location"] == "/login/code/"
    assert who(browser) == "nobody" and not acknowledged(client, user)
    code(browser, user.code())
    beyond = ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59")
    for text in ("", "yesterday", "2026-01-01T00:00:00", *beyond):
        answer = browser.post("/login/code/", {"stored": text, "next": "https://elsewhere.example/"})
        assert answer["location"] == "/home/" and not acknowledged(client, user)
        assert "was not acknowledged" in caplog.text
        caplog.clear()


def test_without_a_verdict_nobody_is_let_in(
    browser: Any, client: Client, monkeypatch: Any, caplog: Any
) -> None:
    from twinlock import django as integration

    known, user = enrolled(client)
    other = type(browser)()
    password(other, known)
    away = Client("http://127.0.0.1:1", timeout=timedelta(milliseconds=200))
    monkeypatch.setattr(integration, "client", lambda: away)
    for answer in (password(browser, known), code(other, user.code())):
        assert "cannot be checked now" in answer.content.decode()
    # The operator learns why.
    assert caplog.text.count("no verdict: UNAVAILABLE") == 2
    assert who(browser) == "nobody" and who(other) == "nobody"


def test_who_must_enroll_is_not_logged_in(browser: Any, monkeypatch: Any) -> None:
    from twinlock import django as integration

    enforcement = '[enforcement]\nmode = "enforce"\nauthorities = ["staff"]\n'
    with Server(file=enforcement) as strict:
        monkeypatch.setattr(integration, "client", lambda: Client(strict.address))
        answer = password(browser, account(staff=True))
        assert "cannot log in here" in answer.content.decode() and who(browser) == "nobody"
        monkeypatch.setattr(integration.LoginMixin, "enroll_url", "/set-up/")
        answer = password(browser, known := account(staff=True))
        assert answer["location"] == "/set-up/" and who(browser) == "nobody"
        request: Any = type("Request", (), {"session": browser.session})()
        assert integration.pending_user(request) == known
        password(browser, plain := account())
        assert who(browser) == plain.username


def test_the_client_is_made_by_the_settings() -> None:
    from twinlock import django as integration

    from django.core.exceptions import ImproperlyConfigured
    from django.test import override_settings

    integration.client.cache_clear()
    with override_settings(TWINLOCK={"ADDRESS": "127.0.0.1:1", "TIMEOUT": 0.5}):
        assert integration.client().address == "127.0.0.1:1"
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"ADRESS": "127.0.0.1:1"}, ImproperlyConfigured, "ADRESS"),
        ({"ADDRESS": "127.0.0.1:1", "TLS_CA": b"PEM"}, RequestError, "https://"),
        ({"ADDRESS": "https://a", "TLS_CERTIFICATE": b"PEM"}, RequestError, "tls_key"),
        ({"ADDRESS": "https://a", "TLS_KEY": b"PEM"}, RequestError, "tls_key"),
    ]
    for setting, error, said in wrong:
        integration.client.cache_clear()
        with override_settings(TWINLOCK=setting), pytest.raises(error, match=said):
            integration.client()
    integration.client.cache_clear()

"""A small Django site: its settings, its pages, and ``urlpatterns``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path


def configure(address: str, database: Path) -> None:
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
        ],
        LOGIN_REDIRECT_URL="/home/",
        LOGIN_URL="/login/",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        PASSWORD_HASHERS=[
            "django.contrib.auth.hashers.MD5PasswordHasher",
            "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="not one",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [Path(__file__).with_name("django_templates")],
            }
        ],
        TWINLOCK={"ADDRESS": address},
        USE_TZ=True,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    _patterns()


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username() or "nobody")


def payout(request: HttpRequest) -> HttpResponse:
    return HttpResponse("paid")


async def awaited_payout(request: HttpRequest) -> HttpResponse:
    return HttpResponse("paid later")


def why(request: HttpRequest) -> HttpResponse:
    from twinlock.django import login_decision

    decision = login_decision(request)
    return JsonResponse(asdict(decision) if decision else {})


urlpatterns: list[object] = []


def _patterns() -> None:
    from twinlock import LoginDecision
    from twinlock.django import LoginView, VerifyView, elevation_required

    class Login(LoginView):
        def login_evaluated(self, user: Any, decision: LoginDecision) -> None:
            if decision.notify:
                user.email_user("Set up two-step verification", decision.reason)

    urlpatterns.extend(
        [
            path("login/", Login.as_view(), name="login"),
            path("login/code/", VerifyView.as_view(), name="twinlock_verify"),
            path("home/", home),
            path("why/", why),
            path("payout/", elevation_required(payout)),
            path("awaited/", elevation_required(max_age=timedelta(minutes=5))(awaited_payout)),
        ]
    )

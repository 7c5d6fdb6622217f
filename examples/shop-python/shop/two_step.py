"""The profile page "Two-step verification", and what is done there."""

from base64 import b64encode
from datetime import datetime

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponseBadRequest
from django.shortcuts import redirect, resolve_url
from django.views.decorators.http import require_POST
from twinlock import StateError, TwinlockError, UnavailableError
from twinlock.django import client, elevation_required, pending_user

from .account import PASSED, present_user, target, told
from .prompt import call, explain, page, presented

elevated = elevation_required(verify_url="confirm")


@login_required
def overview(request):
    return page(request, "two_step.html", state=client().describe_user(user_id=str(request.user.pk)))


def set_up(request):
    """Shows a new secret, for the first app or another one. Those who must have one before they are let in come here
    in the middle of their login, with their password just given."""
    user = pending_user(request)
    if user is None:
        return set_up_elevated(request)
    if request.method == "POST":
        try:
            client().elevate(**call(request, user, "elevate", asserted="password"))
        except StateError:
            return redirect("verify")
    return show_secret(request, user)


@elevated
def set_up_elevated(request):
    return show_secret(request, request.user)


def show_secret(request, user, problem=None):
    pending = ticket = None
    if request.method == "POST":
        ticket = request.POST.get("enrollment") or request.POST.get("ticket", "")
        try:
            # Of the same ticket comes the same secret: no session holds it, and a wrong code does not change it.
            pending = client().enroll(**call(request, user, "enroll", ticket, account_name=user.username))
        except UnavailableError as error:
            problem = problem or explain(error)
    qr = pending and "data:image/svg+xml;base64," + b64encode(pending.qr_svg.encode()).decode()
    context = {"pending": pending, "qr": qr, "enrollment": ticket, "account": user.username}
    return page(request, "set_up.html", problem, **context)


def confirm(request):
    """The first code of the app."""
    user = pending_user(request) or request.user
    if request.method != "POST" or not user.is_authenticated:
        return redirect("set_up")
    try:
        issued = client().confirm_enrollment(**call(request, user, "confirm", **presented(request)))
    except StateError as error:
        messages.error(request, explain(error).sentence)
        return redirect("set_up")
    except TwinlockError as error:
        return show_secret(request, user, told(error, user))
    if request.user.is_authenticated:
        return page(request, "recovery_key.html", issued=issued, next=resolve_url("two_step"))
    request.session[PASSED] = str(user.pk)
    return page(request, "recovery_key.html", issued=issued, next=resolve_url("finish"))


@elevated
def new_key(request):
    if request.method != "POST":
        return page(request, "new_key.html")
    issued = client().rotate_recovery_key(**call(request, request.user, "rotate"))
    return page(request, "recovery_key.html", issued=issued, next=resolve_url("two_step"))


@require_POST
def acknowledge(request):
    """The user says that the new recovery key is stored."""
    user = present_user(request)
    if not user.is_authenticated:
        return redirect("login")
    try:
        of = datetime.fromisoformat(request.POST.get("create_time", ""))
    except ValueError:
        return HttpResponseBadRequest("Go back and try again.")
    try:
        client().acknowledge_recovery_key(user_id=str(user.pk), recovery_key_create_time=of)
        messages.success(request, "Your recovery key counts as stored.")
    except TwinlockError:
        messages.warning(request, "This could not be noted. The shop will ask again.")
    return redirect(target(request))


@elevated
def turn_off(request):
    if request.method != "POST":
        return page(request, "turn_off.html")
    client().unenroll(**call(request, request.user, "unenroll"))
    messages.success(request, "Two-step verification is off.")
    return redirect("two_step")

"""The shop itself: its first page, something that needs a fresh proof, and the administrator's pages."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.shortcuts import get_object_or_404, redirect
from twinlock import TwinlockError
from twinlock.django import client, elevation_required

from .account import Login, told
from .prompt import Problem, call, page, presented


@login_required
def home(request):
    try:
        state = client().describe_user(user_id=str(request.user.pk))
        remind = state.enrolled and not state.recovery_key_acknowledged
    except TwinlockError:
        remind = False  # The shop is open without Twinlock, too.
    return page(request, "home.html", remind=remind)


@elevation_required(verify_url="confirm", max_age=timedelta(minutes=5))
def payout(request):
    if request.method != "POST":
        return page(request, "payout.html")
    messages.success(request, "The money is on its way.")
    return redirect("home")


def administrators(view):
    @login_required
    def checked(request, *args, **kwargs):
        if not request.user.is_staff:
            # Not by PermissionDenied, whose page asks for a proof of identity: that would not help.
            return page(request, "403.html", Problem("This page is for administrators.", 403))
        return view(request, *args, **kwargs)

    return checked


@administrators
def administration(request):
    users = list(get_user_model().objects.order_by("username"))
    for user in users:
        user.state = client().describe_user(user_id=str(user.pk))
        user.must = bool(set(settings.ENFORCEMENT["authorities"]) & set(Login().authorities(user)))
    return page(request, "admin.html", users=users, enforcement=settings.ENFORCEMENT)


@administrators
def reset(request, user_id):
    """Turns it off for somebody who lost phone and recovery key, on the administrator's own code."""
    other = get_object_or_404(get_user_model(), pk=user_id)
    if request.method != "POST":
        return page(request, "reset.html", other=other)
    proof = call(request, request.user, f"reset {other.pk}", totp_code=presented(request).get("totp_code", ""))
    del proof["session_id"]
    try:
        client().unenroll_user(admin_user_id=proof.pop("user_id"), user_id=str(other.pk), **proof)
    except TwinlockError as error:
        return page(request, "reset.html", told(error, request.user), other=other)
    messages.success(request, f"Two-step verification is off for {other.username}.")
    return redirect("admin")

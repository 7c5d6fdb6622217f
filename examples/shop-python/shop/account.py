"""Logging in and out, and the prompt "confirm it is you"."""

from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST
from twinlock import ProofError, StateError, TwinlockError
from twinlock.django import PENDING, LoginView, client, pending_user, session_id

from .prompt import call, explain, page, presented, waiting

PASSED = "second_step_passed_by"


class Login(LoginView):
    """The first step. Twinlock says what is owed after it, and the login waits for that in the session."""

    template_name = "login.html"
    verify_url = "verify"
    enroll_url = "set_up"

    def form_valid(self, form):
        for name in (PENDING, PASSED):  # What another login has left counts for nothing in this one.
            self.request.session.pop(name, None)
        response = super().form_valid(form)
        # Made now, so that both submits of a double click name the same one.
        session_id(self.request)
        return response


def verify(request):
    """The second step."""
    user = pending_user(request)
    if user is None:
        return redirect("login")
    context = {"title": "Second step", "next": "", "with_key": "key" in request.GET}
    if request.method != "POST":
        return page(request, "prompt.html", waiting(user), **context)
    proof = presented(request)
    try:
        done = client().verify(**call(request, user, "verify", **proof))
    except StateError:
        # An administrator has turned it off meanwhile: the login owes something else now.
        request.session.flush()
        return redirect("login")
    except TwinlockError as error:
        return page(request, "prompt.html", told(error, user), **context)
    # The session gets its new id by the next request only. So if the answer to this one is lost, it can be asked for
    # again, and with it the new recovery key.
    request.session[PASSED] = str(user.pk)
    if done.recovery_key is not None:
        return page(request, "recovery_key.html", issued=done, used=True, next=resolve_url("finish"))
    return redirect("finish")


def finish(request):
    """The end of a login that has passed its second step."""
    user = pending_user(request)
    if user is None or present_user(request) != user:
        return redirect("login")
    del request.session[PASSED]
    target = request.session.pop(PENDING)["next"]
    login(request, user, backend=user.backend)
    return redirect(target)


@require_POST
def log_out(request):
    if request.user.is_authenticated:
        try:
            client().drop_elevation(user_id=str(request.user.pk), session_id=session_id(request))
        except TwinlockError:
            pass  # Nobody has the session after this, and elevations end by themselves.
    logout(request)
    return redirect("login")


@login_required
def confirm(request):
    """Asks for a fresh proof: of the second factor, or of the password where there is none yet."""
    user = request.user
    context = {"title": "Confirm it is you", "next": target(request), "with_key": "key" in request.GET}
    if request.method != "POST":
        enrolled = client().describe_user(user_id=str(user.pk)).enrolled
        problem = waiting(user) if enrolled else None
        return page(request, "prompt.html", problem, with_password=not enrolled, **context)
    if "password" in request.POST:
        # Twinlock compares it with the shop's own hash, and so makes those wait who guess.
        proof = {"password": request.POST["password"], "password_hash": user.password}
    else:
        proof = presented(request)
    try:
        done = client().elevate(**call(request, user, "elevate", **proof))
    except StateError:
        return redirect(request.get_full_path())  # It is turned on or off since, and asks for the other.
    except TwinlockError as error:
        context["with_password"] = "password" in proof
        problem = explain(error) if context["with_password"] else told(error, user)
        return page(request, "prompt.html", problem, **context)
    if done.recovery_key is not None:
        return page(request, "recovery_key.html", issued=done, used=True, next=context["next"])
    return redirect(context["next"])


def present_user(request):
    """Who has passed all steps, though the login may not be finished."""
    user = pending_user(request)
    if user is None or request.session.get(PASSED) != str(user.pk):
        return request.user
    return user


def told(error, user):
    """The problem of an attempt, with the wait that it may have begun."""
    problem = explain(error)
    if isinstance(error, ProofError):
        begun = waiting(user)
        problem.wait = begun and begun.wait
    return problem


def target(request):
    """Where to go on: only within the shop."""
    url = request.POST.get("next") or request.GET.get("next", "")
    return url if url_has_allowed_host_and_scheme(url, {request.get_host()}) else "/"

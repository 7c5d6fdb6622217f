from django.urls import path
from django.views.static import serve

from . import account, two_step, views
from .settings import HERE

urlpatterns = [
    path("", views.home, name="home"),
    path("payout", views.payout, name="payout"),
    path("admin", views.administration, name="admin"),
    path("admin/reset/<int:user_id>", views.reset, name="reset"),
    path("login", account.Login.as_view(), name="login"),
    path("login/code", account.verify, name="verify"),
    path("login/finish", account.finish, name="finish"),
    path("logout", account.log_out, name="logout"),
    path("confirm", account.confirm, name="confirm"),
    path("two-step", two_step.overview, name="two_step"),
    path("two-step/set-up", two_step.set_up, name="set_up"),
    path("two-step/confirm", two_step.confirm, name="confirm_set_up"),
    path("two-step/new-key", two_step.new_key, name="new_key"),
    path("two-step/acknowledge", two_step.acknowledge, name="acknowledge"),
    path("two-step/turn-off", two_step.turn_off, name="turn_off"),
    # In production, a web server gives out files.
    path("static/<path:path>", serve, {"document_root": HERE.parent / "shop" / "static"}),
]

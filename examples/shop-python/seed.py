"""Makes the tables and four users, where they are not there yet. All have the password of `SHOP_PASSWORD`."""

import os

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()
call_command("migrate", verbosity=0)

from django.contrib.auth.models import User  # noqa: E402

password = os.environ["SHOP_PASSWORD"]
for name in ("alice", "bob", "carol", "root"):
    if not User.objects.filter(username=name).exists():
        User.objects.create_user(name, password=password, is_staff=name == "root")

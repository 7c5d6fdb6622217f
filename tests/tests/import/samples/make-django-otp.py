"""Makes django-otp.json with the real django-otp:

    python3 -m venv venv && venv/bin/pip install django-otp==1.7.5
    venv/bin/python make-django-otp.py > django-otp.json

The keys are of this sample alone.
"""

import time

import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    SECRET_KEY="of this sample alone",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django_otp",
        "django_otp.plugins.otp_totp",
        "django_otp.plugins.otp_hotp",
        "django_otp.plugins.otp_static",
    ],
)
django.setup()
call_command("migrate", verbosity=0)

from django.contrib.auth.models import User
from django_otp.oath import TOTP
from django_otp.plugins.otp_hotp.models import HOTPDevice
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice


def user(name):
    made = User.objects.create_user(name, email=f"{name}@example.com")
    return made


def device(owner, key, **fields):
    return TOTPDevice.objects.create(user=owner, name="default", key=key, **fields)


alice, bob, carol, dave, erin = map(user, ["alice", "bob", "carol", "dave", "erin"])
plain = device(alice, "3132333435363738393031323334353637383930")
# A code that django-otp itself accepted, two steps late: it sets drift and last_t.
late = TOTP(plain.bin_key)
late.time = time.time() - 60
plain.tolerance = 2
assert plain.verify_token(late.token())
plain.tolerance = 1
plain.save()
device(bob, "c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44", digits=8, step=60)
device(bob, "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef", digits=8)
device(carol, "a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4", confirmed=False)
device(dave, "00112233445566778899aabbccddeeff00112233", t0=1_000_000_000)
HOTPDevice.objects.create(user=erin, key="00112233445566778899aabbccddeeff00112233")
StaticDevice.objects.create(user=erin).token_set.create(token="abcdefgh")
device(erin, "ffeeddccbbaa99887766554433221100ffeeddcc", step=15)

call_command("dumpdata", "otp_totp", "otp_hotp", "otp_static", "auth.user", indent=2)

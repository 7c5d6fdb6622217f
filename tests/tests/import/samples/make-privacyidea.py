"""Makes the samples privacyidea.pi, .csv and .xml, and their keys, with the real privacyIDEA:

    python3 -m venv venv && venv/bin/pip install privacyidea==3.14
    venv/bin/python make-privacyidea.py

It sets up an instance in a directory of its own, enrolls tokens, and runs `pi-tokenjanitor`. The keys are
of these samples alone.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SAMPLES = Path(__file__).resolve().parent
COMMANDS = Path(sys.executable).parent

instance = Path(tempfile.mkdtemp())
configuration = instance / "pi.cfg"
configuration.write_text(f"""
import logging
PI_ENCFILE = "{instance}/encKey"
PI_AUDIT_KEY_PRIVATE = "{instance}/private.pem"
PI_AUDIT_KEY_PUBLIC = "{instance}/public.pem"
PI_LOGFILE = "{instance}/privacyidea.log"
PI_LOGLEVEL = logging.WARNING
SQLALCHEMY_DATABASE_URI = "sqlite:///{instance}/privacyidea.sqlite"
SECRET_KEY = b"of this sample alone, and long enough"
PI_PEPPER = "of this sample alone"
""")
(instance / "passwd").write_text("".join(
    f"{name}:x:{1000 + number}:1000:{name},,:/home/{name}:/bin/sh\n"
    for number, name in enumerate(["alice", "bob", "carol", "dave", "erin", "frank"])
))
(instance / "resolver.json").write_text(f'{{"fileName": "{instance}/passwd"}}')
os.environ["PRIVACYIDEA_CONFIGFILE"] = str(configuration)


def run(command, *arguments):
    done = subprocess.run([COMMANDS / command, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command} {arguments}: {done.stdout}{done.stderr}")
    return done


for name in ["create_enckey", "create_audit_keys", "create_tables"]:
    run("pi-manage", "setup", name)
run("pi-manage", "config", "resolver", "create", "people", "passwdresolver", f"{instance}/resolver.json")
run("pi-manage", "config", "realm", "create", "example", "people")

from privacyidea.app import create_app
from privacyidea.lib.token import enable_token, init_token
from privacyidea.lib.user import User

with create_app("production", config_file=str(configuration), silent=True).app_context():

    def token(serial, owner, key, **parameters):
        user = User(owner, realm="example") if owner else None
        parameters = {"type": "totp", "serial": serial, "otpkey": key, **parameters}
        return init_token(parameters, user=user)

    token("TOTP0001", "alice", "3132333435363738393031323334353637383930")
    token("TOTP0002", "bob", "31323334353637383930" * 3 + "3132", hashlib="sha256", otplen=8, timeStep=60)
    token("TOTP0003", "carol", "31323334353637383930" * 6 + "31323334", hashlib="sha512", otplen=8)
    token("OATH0004", "dave", "00112233445566778899aabbccddeeff00112233", type="hotp")
    token("TOTP0005", "erin", "ffeeddccbbaa99887766554433221100ffeeddcc")
    token("TOTP0006", None, "a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4")
    token("TOTP0007", "frank", "c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44").write_tokeninfo("timeShift", 90)
    enable_token("TOTP0005", enable=False)


def export(kind, *options, key=None):
    file = SAMPLES / f"privacyidea.{'xml' if kind == 'pskc' else kind}"
    done = run("pi-tokenjanitor", "find", "export", "--format", kind, "--file", str(file), *options)
    if key:
        found = re.search(key, done.stdout + done.stderr)
        file.with_name(f"{file.name}.key").write_text(found[1] + "\n")


export("pi", key=r"key to import the tokens is:\s+(\S+)")
export("pskc", key=r"encryption key of the token seeds\.[^\t]*\t([0-9a-f]+)")
export("csv")

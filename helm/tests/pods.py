"""What the tests of pods share: a Redis of theirs, what is installed, and what is asked of it."""

import base64
import functools
import hashlib
import hmac
import http.client
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import time
import tomllib
import urllib.request
from pathlib import Path

from chart import BINARY, ROOT, VALUES, find, render
from cluster import GATEWAY, wait_until

SCENARIOS = ROOT / "tests/scenarios"
# Without callers, behind what authenticates: the scenarios call in all roles.
OPEN = {"insecure": True, "tls": {"existingSecret": ""}, "config": {"caller": []}, "preStopSeconds": 2}


def keyring():
    """A keyring, made by the command that docs/kubernetes.md shows."""
    with tempfile_directory() as directory:
        subprocess.run([BINARY, "keys", "generate", "--set", "keyring.file=keyring.toml"], cwd=directory, check=True, capture_output=True)
        return Path(directory, "keyring.toml").read_text()


def tempfile_directory():
    import tempfile

    return tempfile.TemporaryDirectory()


class Redis:
    """A real Redis, at the name `redis` of the pods."""

    ports = itertools.count(6400)

    def __init__(self, cluster, *arguments, password=""):
        self.port, self.password = next(self.ports), password
        self.directory = cluster.directory / f"redis-{self.port}"
        self.directory.mkdir()
        self.arguments = arguments
        cluster.name_host("redis", GATEWAY)
        self.start()

    @property
    def url(self):
        return f"redis://redis:{self.port}"

    def start(self):
        command = [
            "redis-server", "--bind", GATEWAY, "--port", str(self.port), "--protected-mode", "no", "--dir", self.directory,
            "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", *self.arguments,
        ]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
        wait_until(lambda: self.ask("PING") == "PONG", "Redis answers")

    def ask(self, *words):
        command = ["redis-cli", "-h", GATEWAY, "-p", str(self.port), *words]
        environment = {**os.environ, **({"REDISCLI_AUTH": self.password} if self.password else {})}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.stdout.strip()

    def stop(self):
        self.process.kill()
        self.process.wait()


def values(name):
    return VALUES / f"{name}.yaml"


def initialize(cluster, *files, values, **options):
    """Runs the Job that makes the dataset; no server runs beside it."""
    manifests = render(*files, values={**values, "initialize": True}, **options)
    cluster.apply([it for it in manifests if it["kind"] in ("ConfigMap", "PersistentVolumeClaim")])
    for it in manifests:
        assert it["kind"] not in ("Deployment", "StatefulSet") or it["spec"]["replicas"] == 0
    return cluster.job(find(manifests, "Job"))


def install(cluster, *files, values, **options):
    status, log = initialize(cluster, *files, values=values, **options)
    assert status == 0, log
    manifests = render(*files, values=values, **options)
    cluster.apply(manifests)
    return manifests


def scenarios_by_settings():
    """The names of the scenarios that need no restart, by the settings that they are for."""
    groups = {}
    for file in sorted(SCENARIOS.glob("*.toml")):
        scenario = tomllib.loads(file.read_text())
        if not any("restart" in step for step in scenario["step"]):
            groups.setdefault(json.dumps(scenario.get("settings", {})), []).append(file.stem)
    return groups


@functools.cache
def scenarios_program():
    """The program that runs scenarios, built where it is not yet."""
    built = subprocess.run(
        ["cargo", "test", "--locked", "-q", "-p", "twinlock-tests", "--test", "scenarios", "--no-run", "--message-format", "json"],
        cwd=ROOT, capture_output=True, text=True,
    )
    assert built.returncode == 0, built.stderr
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(it["executable"] for it in messages if it.get("executable") and it["target"]["name"] == "scenarios")


def run_scenarios(addresses, inside=()):
    """Runs scenarios against these servers; gives how many ran."""
    program = scenarios_program()
    with tempfile_directory() as directory:
        file = Path(directory, "servers.toml")
        file.write_text("".join(f'"{name}" = "{address}"\n' for name, address in addresses.items()))
        done = subprocess.run(
            [*inside, "env", f"TWINLOCK_TEST_SERVERS={file}", program], cwd=ROOT / "tests", capture_output=True, text=True,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = int(re.search(r"(\d+) passed; 0 failed", done.stdout)[1])
    assert passed >= len(addresses)
    return passed


DEFAULTS = [name for settings, names in scenarios_by_settings().items() if settings == "{}" for name in names]


def assert_no_crashes(cluster):
    for pod in cluster.pods:
        for container in pod.containers:
            assert container.crashes == 0, container.log()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def post(address, path, body):
    if address.startswith("http+unix:"):
        return post_to_socket(address.removeprefix("http+unix:"), path, body)
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def post_to_socket(socket_path, path, body):
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(socket_path)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return json.load(answer)


def status(address, user):
    return get(f"{address}/v1/users/{user}")[1]


def failure(address):
    try:
        post(address, "/v1/users/alice/login", {"channel": "LOGIN_CHANNEL_FORM"})
    except urllib.error.HTTPError as error:
        return json.load(error)["reason"]
    return None


def enroll(address, user):
    """Sets up an app for a user; gives its secret."""
    users = f"/v1/users/{user}"
    post(address, f"{users}/elevation", {"sessionId": "s", "asserted": {"how": "test"}})
    secret = post(address, f"{users}/enrollment", {"sessionId": "s"})["secret"]
    post(address, f"{users}/enrollment/confirm", {"sessionId": "s", "totpCode": totp(secret)})
    return secret


def totp(secret, offset=0):
    """RFC 6238, with the defaults."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30 + offset), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start:start + 4])[0] & 0x7FFFFFFF) % 10**6:06}"

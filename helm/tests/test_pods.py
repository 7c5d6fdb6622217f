"""What the chart renders, run: each pod a set of processes with its own address, files and user."""

import base64
import concurrent.futures
import functools
import hashlib
import hmac
import http.client
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from pathlib import Path

import grpc
import pytest

from chart import BINARY, NAMESPACE, ROOT, TOOLS, VALUES, find, render
from cluster import GATEWAY, Cluster, wait_until

SCENARIOS = ROOT / "tests/scenarios"
SERVICE = f"twinlock.{NAMESPACE}.svc"
# Without callers, behind what authenticates: the scenarios call in all roles.
OPEN = {"insecure": True, "tls": {"existingSecret": ""}, "config": {"caller": []}, "preStopSeconds": 2}


@pytest.fixture
def cluster():
    with Cluster(NAMESPACE) as cluster:
        cluster.secret("twinlock-keyring", keyring_toml=keyring())
        yield cluster


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


@pytest.fixture
def redis(cluster):
    redis = Redis(cluster)
    yield redis
    redis.stop()


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


def test_the_service_passes_the_scenarios(cluster, redis):
    """Three replicas for each of the settings that the scenarios have, all over one Redis."""
    groups = scenarios_by_settings()
    assert sum(map(len, groups.values())) > 50

    def wanted(settings):
        config = {"caller": [], **json.loads(settings)}
        store = {"redis": {"urls": [redis.url]}}
        return {**OPEN, "replicaCount": 3, "acknowledgeLegacyMode": True, "config": config, "store": store}

    code, log = initialize(cluster, values("service"), values=wanted("{}"))
    assert code == 0, log

    def serve(number, settings, names):
        cluster.apply(render(values("service"), values=wanted(settings), release=f"twinlock-{number}"))
        assert len(cluster.of(f"twinlock-{number}")) == 3
        return {name: f"http://{cluster.services[f'twinlock-{number}'].address}:6238" for name in names}

    addresses = {}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for served in [pool.submit(serve, number, *group) for number, group in enumerate(groups.items())]:
            addresses.update(served.result())
    print("scenarios through the service:", run_scenarios(addresses))
    assert_no_crashes(cluster)


DEFAULTS = [name for settings, names in scenarios_by_settings().items() if settings == "{}" for name in names]


def test_the_embedded_server_passes_the_scenarios_and_keeps_its_users(cluster):
    own = {**OPEN}
    manifests = install(cluster, values("embedded"), values=own)
    address = f"http://{cluster.services['twinlock'].address}:6238"
    run_scenarios({name: address for name in DEFAULTS})
    assert status(address, "keeper")["enrolled"] is False
    enroll(address, "keeper")
    # Another pod on the same volume, as after an upgrade.
    cluster.apply(manifests)
    assert status(address, "keeper")["enrolled"] is True
    # A second initialization touches nothing.
    cluster.of("twinlock")[0].delete()
    wait_until(lambda: not cluster.pods, "the server has ended")
    code, log = initialize(cluster, values("embedded"), values=own)
    assert code != 0 and "There is a store" in log
    cluster.apply(manifests)
    assert status(address, "keeper")["enrolled"] is True


@pytest.mark.parametrize("address", ["socket", "loopback"])
@pytest.mark.parametrize("native", [True, False], ids=["native", "ordinary"])
def test_the_sidecar_serves_the_application_beside_it(cluster, redis, example, address, native):
    own = {"sidecar": {"address": address, "native": native}, "store": {"redis": {"urls": [redis.url]}}, "preStopSeconds": 1}
    code, log = initialize(cluster, values("sidecar"), values=own)
    assert code == 0, log
    manifests = render(chart=example, release="shop", values={"replicaCount": 2, "twinlock": own})
    deployment = find(manifests, "Deployment")
    deployment["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    cluster.apply(manifests)
    pods = cluster.of("shop")
    assert len(pods) == 2
    # Both applications ask their own sidecar about one user, over one Redis.
    first, second = [f"http://{pod.address}:8080/login?user=alice" for pod in pods]
    assert get(first) == (200, {"decision": "DECISION_ALLOW", "reason": "NOT_ENROLLED", "notify": False, "remindRecoveryKey": False})
    twinlock = next(it for it in pods[0].containers if it.name == "twinlock")
    shop = next(it for it in pods[0].containers if it.name == "shop")
    where = shop.environment["TWINLOCK_ADDRESS"]
    assert where == ("unix:/run/twinlock/twinlock.sock" if address == "socket" else "http://127.0.0.1:6238")
    enrolled = subprocess.run(
        twinlock.within(["/twinlock", "smoke-test", "--address", where]), capture_output=True, text=True,
    )
    assert enrolled.returncode == 0, enrolled.stderr
    assert get(second)[0] == 200
    # From outside the pod nothing of it can be reached.
    for port in (6238, 9238):
        with pytest.raises(OSError):
            socket.create_connection((pods[0].address, port), timeout=0.5)
    # Scenarios, through the very socket, or within the pod's network; where it stands in the pod changes nothing.
    if not native:
        pass
    elif address == "socket":
        reached = f"unix:{pods[0].volumes['twinlock-socket']}/twinlock.sock"
        run_scenarios({name: reached for name in DEFAULTS}, pods[0].inside())
    else:
        run_scenarios({name: where for name in DEFAULTS}, pods[0].inside())
    # Without its store the application is told so and lets nobody in; nothing restarts, and all is well afterwards.
    redis.stop()
    wait_until(lambda: get(first)[0] == 503, "the application is told")
    time.sleep(2)
    assert twinlock.probe("livenessProbe")
    redis.start()
    wait_until(lambda: get(first)[0] == 200, "the application is served again")
    assert_no_crashes(cluster)
    # A native sidecar outlives the application; both end in their grace.
    pods[0].delete()
    pods[0].wait_gone()


def test_an_application_that_comes_first_waits_for_its_sidecar(cluster, redis, example):
    """No dataset: the sidecar does not start, and makes none, so that the application does not start either."""
    own = {"store": {"redis": {"urls": [redis.url]}}}
    manifests = render(chart=example, release="shop", values={"replicaCount": 1, "twinlock": own})
    cluster.apply([it for it in manifests if it["kind"] == "ConfigMap"])
    pod = cluster.pod("shop", find(manifests, "Deployment")["spec"]["template"])
    wait_until(lambda: pod.containers and pod.containers[0].restarts > 1, "the sidecar has tried")
    assert "STORE_INCOMPLETE" in pod.log() and "init --new-dataset" in pod.log()
    assert [it.name for it in pod.containers] == ["twinlock"]
    assert redis.ask("DBSIZE") == "0"
    code, log = initialize(cluster, values("sidecar"), values=own)
    assert code == 0, log
    pod.wait_ready()


def test_a_rolling_restart_loses_no_call(cluster, redis):
    """Over TLS, with tokens, through the Service: three replicas are replaced while calls go on."""
    own, tokens, _ = with_callers(cluster, redis)
    manifests = install(cluster, values("service"), values={**own, "replicaCount": 3})
    before = cluster.of("twinlock")
    load = Load(cluster.services["twinlock"].address, cluster.authority, tokens["shop"])
    with load:
        wait_until(lambda: load.done > 200, "calls are made")
        cluster.restart(find(manifests, "Deployment"))
        after = load.done
        wait_until(lambda: load.done > after + 200, "calls are made afterwards")
    assert not {it.name for it in before} & {it.name for it in cluster.pods}
    print(f"{load.done} calls during a rolling restart, {len(load.failures)} lost")
    assert load.failures == []


def test_after_a_flush_no_restart_makes_a_dataset(cluster, redis):
    own = {**OPEN, "replicaCount": 3, "store": {"redis": {"urls": [redis.url]}}}
    manifests = install(cluster, values("service"), values=own)
    address = f"http://{cluster.services['twinlock'].address}:6238"
    enroll(address, "alice")
    pods = cluster.of("twinlock")
    redis.ask("FLUSHALL")
    for pod in pods:
        assert failure(f"http://{pod.address}:6238") == "STORE_INCOMPLETE"
    wait_until(lambda: not any(pod.is_ready for pod in pods), "no pod is ready")
    # All pods anew, by the processes' ends and by the pods': none of them gets far enough to answer.
    for pod in pods:
        pod.containers[0].process.kill()
    wait_until(lambda: all(pod.containers[0].restarts > 1 for pod in pods), "they have tried again")
    template = find(manifests, "Deployment")["spec"]["template"]
    for pod in pods:
        pod.kill()
    pod = cluster.pod("twinlock", template)
    wait_until(lambda: pod.containers and pod.containers[0].restarts > 1, "a new pod has tried")
    assert "STORE_INCOMPLETE" in pod.log()
    assert not pod.is_ready
    assert redis.ask("DBSIZE") == "0"


def test_the_test_the_backup_and_the_secrets(cluster, redis):
    """`helm test`, the CronJob, certificates that are renewed, and who may not call."""
    own, tokens, authority = with_callers(cluster, redis)
    cluster.secret("twinlock-test", t=tokens["shop"])
    cluster.secret("twinlock-operator", t=tokens["operator"])
    cluster.secret("internal-ca", root_pem=authority)
    manifests = install(cluster, values("service"), values("service/backup-and-test"), values=own)
    status, log = cluster.job(find(manifests, "Pod"))
    assert status == 0, log
    for sentence in ("Enrolled smoke-test-", "Verified a code.", "Verified the recovery key.", "Unenrolled.", "Passed."):
        assert sentence in log
    assert "only an operator may erase it" in log
    backup = find(manifests, "CronJob")
    for count in (1, 2):
        status, log = cluster.job(backup)
        assert status == 0, log
        assert len(list(cluster.claim("backups").glob("*.backup"))) == count
    # The restored copy is another dataset's whole.
    with tempfile_directory() as directory:
        file = next(cluster.claim("backups").glob("*.backup"))
        Path(directory, "keyring.toml").write_text(cluster.secrets["twinlock-keyring"]["keyring.toml"].decode())
        os.chmod(Path(directory, "keyring.toml"), 0o600)
        done = subprocess.run(
            [BINARY, "restore", "--dry-run", file, "--set", f"keyring.file={directory}/keyring.toml", "--set", f"store.path={directory}/data"],
            capture_output=True, text=True,
        )
        assert done.returncode == 0, done.stderr
    # With a product's token there is no backup, and none is left behind.
    cluster.secret("twinlock-operator", t=tokens["shop"])
    status, log = cluster.job({**backup, "spec": {**backup["spec"], "jobTemplate": without_tries(backup)}})
    assert status != 0 and "roles do not allow" in log, log
    assert len(list(cluster.claim("backups").iterdir())) == 2
    # A renewed certificate is served without a restart.
    address = cluster.services["twinlock"].address
    before = served_certificate(address, authority)
    certificate, key = cluster.issue(SERVICE)
    cluster.secret("twinlock-tls", tls_crt=certificate, tls_key=key)
    wait_until(lambda: served_certificate(address, authority) != before, "the renewed certificate is served")
    assert_no_crashes(cluster)


def test_every_secret_that_is_mounted_is_used(cluster):
    """Redis over TLS with a user of its own, callers by certificate, and a webhook that is signed."""
    authority = Authority()
    certificate, key = authority.issue("redis")
    for name, text in (("redis.crt", certificate), ("redis.key", key), ("redis-ca.crt", authority.certificate)):
        (cluster.directory / name).write_text(text)
    port = next(Redis.ports)
    redis = Redis(
        cluster, "--tls-port", port, "--tls-auth-clients", "no", *(
            word for name, file in (("cert", "redis.crt"), ("key", "redis.key"), ("ca-cert", "redis-ca.crt"))
            for word in (f"--tls-{name}-file", cluster.directory / file)
        ),
        "--user", *"twinlock on >of-twinlock ~twinlock:* &* +@all".split(),
        "--requirepass", "of-the-administrator", password="of-the-administrator",
    )
    try:
        cluster.secret("redis", password="of-twinlock\n")
        cluster.secret("redis-ca", ca_crt=authority.certificate)
        cluster.secret("clients-ca", ca_crt=authority.certificate)
        cluster.secret("twinlock-webhook", secret="sixteen bytes or more")
        for name, host in (("twinlock-tls", SERVICE), ("operator-tls", "operator.example"), ("test-tls", "test.example")):
            certificate, key = authority.issue(host)
            cluster.secret(name, tls_crt=certificate, tls_key=key, ca_crt=authority.certificate)
        own = {
            "replicaCount": 1,
            "preStopSeconds": 1,
            "store": {"redis": {
                "urls": [f"rediss://redis:{port}"], "username": "twinlock", "password": {"existingSecret": "redis"},
                "tlsCA": {"existingSecret": "redis-ca"},
            }},
            "tls": {"clientCA": {"existingSecret": "clients-ca"}},
            "webhook": {"existingSecret": "twinlock-webhook"},
            "networkPolicy": {"extraEgress": [{"ports": [{"port": 80}]}]},
            "config": {
                "webhook": {"url": f"http://{GATEWAY}:1/"},
                "caller": [
                    {"name": "test", "san": "test.example", "roles": ["product", "operator"]},
                    {"name": "operator", "san": "operator.example", "roles": ["operator"]},
                ],
            },
            "backup": {"enabled": True, "existingClaim": "backups", "certificate": {"existingSecret": "operator-tls"}},
            "smokeTest": {"enabled": True, "certificate": {"existingSecret": "test-tls"}},
        }
        manifests = install(cluster, values("service"), values=own)
        code, log = cluster.job(find(manifests, "Pod"))
        assert code == 0 and "Passed." in log and "only an operator may erase it" not in log, log
        code, log = cluster.job(find(manifests, "CronJob"))
        assert code == 0, log
        assert len(list(cluster.claim("backups").glob("*.backup"))) == 1
        # Another password: the store is not reached, and the log does not tell it.
        cluster.secret("redis", password="of-somebody-else")
        code, log = initialize(cluster, values("service"), values=own)
        assert code != 0 and "of-somebody-else" not in log, log
        assert_no_crashes(cluster)
    finally:
        redis.stop()


def test_the_sidecar_keeps_users_on_the_volume_of_its_application(cluster, example):
    """The embedded store in the pod of an application that is one."""
    own = {"store": {"kind": "embedded", "redis": {"urls": []}, "embedded": {"existingClaim": "users"}}, "acknowledgeSingleReplica": True}
    status, log = initialize(cluster, values("sidecar"), values=own)
    assert status == 0, log
    manifests = render(chart=example, release="shop", values={"replicaCount": 1, "twinlock": own})
    cluster.apply([it for it in manifests if it["kind"] == "ConfigMap"])
    template = find(manifests, "Deployment")["spec"]["template"]

    def decision(pod):
        return get(f"http://{pod.address}:8080/login?user=alice")[1]["reason"]

    first = cluster.pod("shop", template).wait_ready()
    assert decision(first) == "NOT_ENROLLED"
    enroll(f"http+unix:{first.volumes['twinlock-socket']}/twinlock.sock", "alice")
    assert decision(first) == "ENROLLED"
    # A second one beside it does not start, rather than having users of its own.
    second = cluster.pod("shop", template)
    wait_until(lambda: second.containers and second.containers[0].restarts > 1, "the second has tried")
    assert not second.is_ready and "shop" not in [it.name for it in second.containers]
    first.delete()
    first.wait_gone()
    second.wait_ready()
    assert decision(second) == "ENROLLED"


@pytest.mark.parametrize("kind", ["service", "embedded"])
def test_a_backup_is_restored_after_the_store_was_lost(cluster, redis, kind):
    own = {**OPEN, "backup": {"enabled": True, "existingClaim": "backups"}}
    if kind == "service":
        own["store"] = {"redis": {"urls": [redis.url]}}
    manifests = install(cluster, values(kind), values=own)
    address = f"http://{cluster.services['twinlock'].address}:6238"
    enroll(address, "alice")
    code, log = cluster.job(find(manifests, "CronJob"))
    assert code == 0, log
    (backup,) = cluster.claim("backups").iterdir()

    def lose():
        redis.ask("FLUSHALL")
        if kind == "embedded":
            shutil.rmtree(cluster.claim("twinlock-data") / "data")

    def restore(before=lambda: None, **more):
        restoring = render(values(kind), values={**own, "restore": {"file": backup.name, **more}})
        cluster.apply(restoring)
        wait_until(lambda: not cluster.pods, "the servers have ended")
        before()
        outcome = cluster.job(find(restoring, "Job"))
        cluster.apply(manifests)
        return outcome

    code, log = restore(before=lose)
    assert code == 0, log
    assert status(address, "alice")["enrolled"] is True
    enroll(address, "bob")
    code, log = restore()
    assert code != 0 and "--replace" in log
    assert status(address, "bob")["enrolled"] is True
    code, log = restore(replace=True)
    assert code == 0, log
    assert status(address, "bob")["enrolled"] is False
    assert status(address, "alice")["enrolled"] is True


def test_nobody_complains_about_the_keyring(cluster, redis):
    """A Secret's files are root's, and their group's to read: as private as a pod can have them."""
    own = {**OPEN, "store": {"redis": {"urls": [redis.url]}}}
    install(cluster, values("service"), values=own)
    pod = cluster.of("twinlock")[0]
    assert "chmod" not in pod.log(), pod.log()
    assert '"level":"WARN"' not in "".join(line for line in pod.log().splitlines() if "insecure" not in line), pod.log()


def assert_no_crashes(cluster):
    for pod in cluster.pods:
        for container in pod.containers:
            assert container.crashes == 0, container.log()


def without_tries(backup):
    template = json.loads(json.dumps(backup["spec"]["jobTemplate"]))
    template["spec"]["backoffLimit"] = 0
    return template


def with_callers(cluster, redis):
    """Values for a service with TLS and callers by token; the tokens, and the authority's certificate."""
    authority = Authority()
    cluster.authority = authority.certificate
    cluster.issue = authority.issue
    certificate, key = authority.issue(SERVICE)
    cluster.secret("twinlock-tls", tls_crt=certificate, tls_key=key)
    tokens, callers = {}, []
    for name, roles in (("shop", ["product"]), ("operator", ["operator"])):
        tokens[name] = secrets.token_urlsafe(32)
        digest = hashlib.sha256(tokens[name].encode()).hexdigest()
        callers.append({"name": name, "token_sha256": digest, "roles": roles})
    own = {"store": {"redis": {"urls": [redis.url]}}, "config": {"caller": callers}, "preStopSeconds": 2}
    return own, tokens, authority.certificate


class Authority:
    """A certificate authority."""

    def __init__(self):
        self.directory = tempfile_directory()
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
        self.certificate = self.path("ca.crt").read_text()

    def path(self, name):
        return Path(self.directory.name, name)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory.name, check=True, capture_output=True)

    def issue(self, name):
        self.path("extensions").write_text(f"subjectAltName=DNS:{name},DNS:localhost\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                     "-keyout", "it.key", "-out", "it.csr")
        self.openssl("x509", "-req", "-in", "it.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                     "-extfile", "extensions", "-out", "it.crt")
        return self.path("it.crt").read_text(), self.path("it.key").read_text()


def served_certificate(address, authority):
    import ssl

    context = ssl.create_default_context(cadata=authority)
    with socket.create_connection((address, 6238), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname=SERVICE) as connection:
            return connection.getpeercert(binary_form=True)


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


class Load:
    """Clients as a product has them, one connection each: logins of users who are enrolled, and elevations. A call
    is lost where the product is told anything but its answer."""

    CLIENTS = 6

    def __init__(self, address, authority, token):
        stubs = stubs_directory()
        if stubs not in sys.path:
            sys.path.insert(0, stubs)
        from twinlock.v1 import two_step_pb2, two_step_pb2_grpc

        self.v1, self.service = two_step_pb2, two_step_pb2_grpc.TwoStepServiceStub
        credentials = grpc.ssl_channel_credentials(authority.encode())
        options = [("grpc.ssl_target_name_override", SERVICE), ("grpc.use_local_subchannel_pool", 1)]
        self.channels = [grpc.secure_channel(f"{address}:6238", credentials, options) for _ in range(self.CLIENTS)]
        self.metadata = [("authorization", f"Bearer {token}")]
        self.counts, self.failures, self.is_over = [0] * self.CLIENTS, [], False

    @property
    def done(self):
        return sum(self.counts)

    def __enter__(self):
        self.threads = [threading.Thread(target=self.product, args=(it,)) for it in range(self.CLIENTS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join()
        for channel in self.channels:
            channel.close()

    def product(self, number):
        v1, stub = self.v1, self.service(self.channels[number])
        for count in itertools.count():
            if self.is_over:
                return
            user, session = f"user-{number}-{count}", "session"
            self.call(number, stub.Elevate, v1.ElevateRequest(
                user_id=user, session_id=session, asserted=v1.AssertedCredential(how="load"), request_id=fresh()))
            enrollment = self.call(number, stub.Enroll, v1.EnrollRequest(user_id=user, session_id=session, request_id=fresh()))
            if enrollment is None:
                continue
            self.call(number, stub.ConfirmEnrollment, v1.ConfirmEnrollmentRequest(
                user_id=user, session_id=session, totp_code=totp(enrollment.secret), request_id=fresh()))
            login = self.call(number, stub.EvaluateLogin, v1.EvaluateLoginRequest(
                user_id=user, channel=v1.LOGIN_CHANNEL_FORM, request_id=fresh()))
            assert login is None or login.decision == v1.DECISION_VERIFY
            self.call(number, stub.Verify, v1.VerifyRequest(
                user_id=user, session_id="web", totp_code=totp(enrollment.secret, 1), request_id=fresh()))

    def call(self, number, method, request):
        try:
            answer = method(request, timeout=5, metadata=self.metadata)
            self.counts[number] += 1
            return answer
        except grpc.RpcError as error:
            self.failures.append((type(request).__name__, error.code(), error.details()))


def fresh():
    return secrets.token_urlsafe(24)


def stubs_directory():
    directory = TOOLS / "stubs"
    if not (directory / "twinlock/v1/two_step_pb2_grpc.py").exists():
        directory.mkdir(exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", "-I", ROOT / "proto", f"--python_out={directory}",
             f"--grpc_python_out={directory}", "twinlock/v1/two_step.proto"], check=True,
        )
    return str(directory)

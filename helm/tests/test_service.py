"""The service of the chart, run: each pod a set of processes with its own address, files and user."""

import concurrent.futures
import hashlib
import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc

from chart import BINARY, NAMESPACE, ROOT, TOOLS, find, render
from cluster import GATEWAY, wait_until
from pods import (
    OPEN, Redis, assert_no_crashes, enroll, failure, initialize, install, run_scenarios, scenarios_by_settings, tempfile_directory,
    totp, values,
)

SERVICE = f"twinlock.{NAMESPACE}.svc"


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


def test_nobody_complains_about_the_keyring(cluster, redis):
    """A Secret's files are root's, and their group's to read: as private as a pod can have them."""
    own = {**OPEN, "store": {"redis": {"urls": [redis.url]}}}
    install(cluster, values("service"), values=own)
    pod = cluster.of("twinlock")[0]
    assert "chmod" not in pod.log(), pod.log()
    assert '"level":"WARN"' not in "".join(line for line in pod.log().splitlines() if "insecure" not in line), pod.log()


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

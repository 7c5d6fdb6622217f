"""The other kinds of the chart, run: each pod a set of processes with its own address, files and user."""

import shutil
import socket
import subprocess
import time

import pytest

from chart import find, render
from cluster import wait_until
from pods import DEFAULTS, OPEN, assert_no_crashes, enroll, get, initialize, install, run_scenarios, status, values


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

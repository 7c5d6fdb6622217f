"""What the chart renders, without running it."""

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from chart import (
    BINARY, CHART, HELMS, ROOT, TOOLS, VALUES, Refused, cases, documents, find, helm, leaves, pod_specs,
    render, used_paths, without,
)

CASES = cases()
MINORS = ("1.35", "1.36", "1.37")
# What kubernetes-validate knows nothing of, and the package that has its schema.
CUSTOM = {
    "Certificate": "@kubernetes-models/cert-manager/cert-manager.io/v1",
    # The newest that the package has; what is used here is the same in v1.
    "ExternalSecret": "@kubernetes-models/external-secrets/external-secrets.io/v1beta1",
    "ServiceMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
    "PrometheusRule": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
}


@cache
def rendered():
    """Every case by both Helms."""
    jobs = [(name, version) for name in CASES for version in HELMS]
    with ThreadPoolExecutor(4) as pool:
        outcomes = pool.map(lambda job: render(*CASES[job[0]], version=job[1]), jobs)
    return dict(zip(jobs, outcomes))


def manifests(name):
    return rendered()[name, "helm4"]


def config(name, given=None):
    return find(given or manifests(name), "ConfigMap", _config_map(given or manifests(name)))["data"]["twinlock.toml"]


def _config_map(given):
    return next(it["metadata"]["name"] for it in given if "twinlock.toml" in it.get("data", {}))


def test_the_matrix_is_wide_enough():
    assert len(CASES) >= 25


@pytest.mark.parametrize("version", HELMS)
def test_lint(version):
    for files in CASES.values():
        arguments = [argument for file in files for argument in ("--values", file)]
        helm(version, "lint", "--strict", CHART, *arguments)


@pytest.mark.parametrize("name", CASES)
def test_both_helms_render_the_same(name):
    assert rendered()[name, "helm3"] == rendered()[name, "helm4"]
    assert rendered()[name, "helm4"]


def test_the_newest_minors_are_those_that_are_known():
    known = dict.fromkeys(map(kubernetes_validate.utils.major_minor, kubernetes_validate.utils.all_versions()))
    assert tuple(known)[-3:] == MINORS


@pytest.mark.parametrize("name", CASES)
def test_manifests_are_valid(name):
    for manifest in manifests(name):
        if manifest["kind"] in CUSTOM:
            continue
        for minor in MINORS:
            kubernetes_validate.validate(manifest, minor, strict=True)


def test_custom_resources_are_valid():
    found = [it for name in CASES for it in manifests(name) if it["kind"] in CUSTOM]
    assert {it["kind"] for it in found} == set(CUSTOM)
    for it in found:
        if it["kind"] == "ExternalSecret":
            assert it["apiVersion"] == "external-secrets.io/v1"
            it["apiVersion"] = "external-secrets.io/v1beta1"
    script = """
        const documents = JSON.parse(require('fs').readFileSync(0)), custom = JSON.parse(process.argv[1]);
        (async () => {
            for (const it of documents) new (await import(custom[it.kind]))[it.kind](it).validate();
        })();
    """
    subprocess.run(
        ["node", "-e", script, json.dumps(CUSTOM)], input=json.dumps(found), text=True, check=True, cwd=TOOLS,
    )


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_right(name):
    assert_right(manifests(name))


def assert_right(given):
    """`twinlock serve --check-config`, with the container's environment where the chart runs a server."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "twinlock.toml")
        file.write_text(config(None, given))
        environment = {}
        for _, spec in pod_specs(given):
            for container in spec["containers"]:
                if "--config" in container.get("args", []):
                    for variable in container.get("env", []):
                        value = variable.get("value", "a value")
                        if value.startswith("/run/secrets/"):
                            Path(directory, variable["name"]).write_text("a secret of 16 bytes or more\n")
                            value = str(Path(directory, variable["name"]))
                        environment[variable["name"]] = value
        if "[webhook]" in file.read_text():
            assert "TWINLOCK_WEBHOOK__SECRET_FILE" in environment
        done = subprocess.run(
            [BINARY, "serve", "--check-config", "--config", file], env=environment, capture_output=True, text=True,
        )
        assert done.returncode == 0, done.stderr + file.read_text()


def test_numbers_and_texts_reach_the_configuration_as_they_are():
    text = config("service/policies")
    assert "memory_kib = 1048576\n" in text
    assert "tolerated_failures = 3\n" in text
    done = subprocess.run(
        ["python3", "-c", "import sys, tomllib, json; print(json.dumps(tomllib.loads(sys.stdin.read())))"],
        input=text, capture_output=True, text=True, check=True,
    )
    parsed = json.loads(done.stdout)
    written = yaml.safe_load(CASES["service/policies"][1].read_text())["config"]
    assert parsed["totp"] == written["totp"]
    assert parsed["admin"] == written["admin"]
    assert "audit" not in parsed


@pytest.mark.parametrize("name", CASES)
def test_only_the_job_initializes_and_only_when_told(name):
    is_told = name.endswith("/initialize")
    is_stopped = is_told or name.endswith("/restore")
    jobs = 0
    for kind, spec in pod_specs(manifests(name)):
        for container in spec["containers"]:
            if "init" in container["args"]:
                assert kind == "Job"
                assert container["args"] == ["init", "--new-dataset", "--config", "/etc/twinlock/twinlock.toml"]
                jobs += 1
            elif "serve" in container["args"]:
                # A start with a configuration never makes a dataset.
                assert container["args"] == ["serve", "--config", "/etc/twinlock/twinlock.toml"]
    assert jobs == int(is_told)
    if is_stopped:
        for it in manifests(name):
            if it["kind"] in ("Deployment", "StatefulSet"):
                assert it["spec"]["replicas"] == 0
            assert it["kind"] != "HorizontalPodAutoscaler"
            assert it["kind"] != "CronJob" or it["spec"]["suspend"] is True


@pytest.mark.parametrize("name", [name for name in CASES if name != "service/openshift"])
def test_pods_are_restricted(name):
    """The restricted Pod Security Standard, and no token of a service account."""
    for _, spec in pod_specs(manifests(name)):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["securityContext"]["runAsNonRoot"] is True
        for volume in spec.get("volumes", []):
            assert not volume.keys() - {"name", "configMap", "emptyDir", "persistentVolumeClaim", "secret"}
        for container in spec["containers"] + spec.get("initContainers", []):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_on_openshift_the_cluster_chooses_the_user():
    for _, spec in pod_specs(manifests("service/openshift")):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & spec["securityContext"].keys()


@pytest.mark.parametrize("name", CASES)
def test_no_secret_is_rendered(name):
    """Secrets come from Secrets, which the chart never writes."""
    for manifest in manifests(name):
        assert manifest["kind"] != "Secret"


def test_a_change_of_the_configuration_restarts_the_pods():
    def checksum(**values):
        deployment = find(render(*CASES["service"], values=values), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]["twinlock/config-checksum"]

    assert checksum() == checksum()
    assert checksum() != checksum(config={"totp": {"issuer": "Shop"}})


def test_a_restore_writes_over_nothing_unless_told():
    def args(**restore):
        given = {"restore": restore, "backup": {"existingClaim": "backups"}}
        return find(render(*CASES["service"], values=given), "Job")["spec"]["template"]["spec"]["containers"][0]["args"]

    assert args(file="monday") == ["restore", "--config", "/etc/twinlock/twinlock.toml", "/backups/monday"]
    assert args(file="monday", replace=True)[3:] == ["--replace", "/backups/monday"]


def test_a_job_of_another_configuration_has_another_name():
    def name(**values):
        return find(render(*CASES["service/initialize"], values=values), "Job")["metadata"]["name"]

    assert name() == name()
    assert name() != name(store={"redis": {"urls": ["redis://other:6379"]}})


def test_names_fit():
    for name in CASES:
        for manifest in manifests(name):
            limit = 52 if manifest["kind"] == "CronJob" else 63
            assert len(manifest["metadata"]["name"]) <= limit, manifest["metadata"]["name"]


# Values that cannot work, and how the sentence begins that refuses them.
REFUSED = [
    ("embedded", {"replicaCount": 2}, "replicaCount is more than 1"),
    ("embedded", {"autoscaling": {"enabled": True}}, "autoscaling.enabled needs store.kind redis"),
    ("embedded", {"store": {"redis": {"urls": ["redis://redis"]}}}, "store.redis.urls is set"),
    ("service", {"config": {"login": {"mode": "legacy"}}}, "config.login.mode is legacy"),
    ("service", {"extraEnv": [{"name": "TWINLOCK_LOGIN__MODE", "value": "legacy"}]}, "extraEnv sets TWINLOCK_LOGIN__MODE"),
    ("service", {"keyring": {"existingSecret": ""}}, "keyring.existingSecret is missing"),
    ("service", {"store": {"redis": {"urls": []}}}, "store.redis.urls is empty"),
    ("service", {"store": {"redis": {"urls": ["redis://a", "redis://b"]}}}, "store.redis.urls has several"),
    ("service", {"store": {"redis": {"mode": "sentinel"}}}, "store.redis.sentinelMaster is missing"),
    ("service", {"tls": {"existingSecret": ""}}, "tls.existingSecret is missing"),
    ("service", {"config": {"caller": []}}, "config.caller is empty"),
    ("service", {"config": {"server": {"listen": "0.0.0.0:1"}}}, "config.server.listen is not written here"),
    ("service", {"config": {"server": {"insecure": True}}}, "config.server.insecure is not written here"),
    ("service", {"config": {"store": {"redis": {"password": "x"}}}}, "config.store.redis.password is not written here"),
    ("service", {"config": {"keyring": {"keys": "x"}}}, "config.keyring.keys is not written here"),
    ("service", {"config": {"webhook": {"secret": "x"}}}, "config.webhook.secret is not written here"),
    ("service", {"config": {"webhook": {"url": "https://a/"}}}, "webhook.existingSecret is missing"),
    ("service", {"config": {"argon2": {"concurrency": 16}}}, "resources.limits.memory is less than"),
    ("service", {"config": {"argon2": {"memory_kib": 1048576}}, "resources": {"limits": {"memory": "4Gi"}}}, "resources.limits.memory is less than"),
    ("service", {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "a"}}}}, "tls.existingSecret and tls.certManager.enabled"),
    ("service", {"tls": {"existingSecret": "", "certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name is missing"),
    ("service", {"tls": {"certManager": {"clients": [{"name": "a", "uris": ["spiffe://a/b"]}]}}}, "tls.certManager.clients needs"),
    ("service/mesh", {"tls": {"clientCA": {"existingSecret": "a"}}}, "tls.clientCA.existingSecret needs"),
    ("service", {"externalSecrets": {"secrets": [{"name": "a", "data": [{"secretKey": "a", "remoteRef": {"key": "b"}}]}]}}, "externalSecrets.secretStoreRef.name is missing"),
    ("service", {"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds must be longer"),
    ("service/autoscaling", {"replicaCount": 3}, "replicaCount and autoscaling.enabled"),
    ("service/autoscaling", {"autoscaling": {"maxReplicas": 1}}, "autoscaling.minReplicas is more"),
    ("service", {"serviceMonitor": {"enabled": True}}, "serviceMonitor.enabled needs networkPolicy.metrics"),
    ("service", {"backup": {"enabled": True}}, "backup.existingClaim is missing"),
    ("service", {"backup": {"enabled": True, "existingClaim": "a"}}, "backup.token.existingSecret is missing"),
    ("service", {"restore": {"file": "monday"}}, "backup.existingClaim is missing: name the volume claim that has"),
    ("service", {"restore": {"file": "monday"}, "initialize": True}, "initialize and restore.file are both set"),
    ("sidecar", {"restore": {"file": "monday"}}, "restore is for mode service"),
    ("service", {"restore": {"file": "../etc/passwd"}}, "file"),
    ("service", {"backup": {"schedule": "daily"}}, "schedule"),
    ("service", {"config": {"telemetry": {"otlp_endpoint": "http://a:1"}}}, "networkPolicy.extraEgress is empty: write the rule that lets traces"),
    ("service", {"config": {"webhook": {"url": "https://a"}}, "webhook": {"existingSecret": "a"}}, "networkPolicy.extraEgress is empty: write the rule that lets events"),
    ("service", {"smokeTest": {"enabled": True}}, "smokeTest.token.existingSecret is missing"),
    ("sidecar", {"store": {"kind": "embedded", "redis": {"urls": []}}}, "store.kind is embedded in mode sidecar"),
    ("sidecar", {"store": {"kind": "embedded", "redis": {"urls": []}}, "acknowledgeSingleReplica": True}, "store.embedded.existingClaim is missing"),
    ("sidecar", {"tls": {"existingSecret": "a"}}, "tls is for mode service"),
    ("sidecar", {"insecure": True}, "insecure is for mode service"),
    ("sidecar", {"autoscaling": {"enabled": True}}, "autoscaling is for mode service"),
    ("sidecar", {"serviceMonitor": {"enabled": True}}, "serviceMonitor is for mode service"),
    ("sidecar", {"backup": {"enabled": True}}, "backup is for mode service"),
    # The schema.
    ("service", {"replicas": 3}, "replicas"),
    ("service", {"replicaCount": "3"}, "replicaCount"),
    ("service", {"store": {"kind": "memory"}}, "kind"),
    ("service", {"store": {"redis": {"urls": ["redis://user:password@redis:6379"]}}}, "urls"),
    ("service", {"service": {"port": 70000}}, "port"),
    ("service", {"image": {"digest": "latest"}}, "digest"),
    ("service", {"networkPolicy": {"caller": []}}, "caller"),
    ("service", {"extraEnv": [{"value": "no name"}]}, "extraEnv"),
    ("service", {"config": {"backof": {"initial": "2s"}}}, "backof"),
    ("service", {"config": {"backoff": {"intial": "2s"}}}, "intial"),
    ("service", {"config": {"backoff": {"initial": 2}}}, "initial"),
    # What YAML makes of `off`.
    ("service", {"config": {"enforcement": {"mode": False}}}, "enforcement"),
    ("service", {"config": {"caller": [{"name": "shop", "role": ["admin"]}]}}, "role"),
]


@pytest.mark.parametrize("name, values, sentence", REFUSED, ids=[it[2] for it in REFUSED])
def test_what_cannot_work_is_refused(name, values, sentence):
    for version in HELMS:
        with pytest.raises(Refused) as refused:
            render(*CASES[name], version=version, values=values)
        assert sentence in str(refused.value)


def test_a_name_that_no_service_may_have_is_refused():
    with pytest.raises(Refused, match="fullnameOverride is missing"):
        render(*CASES["service"], release="123")
    render(*CASES["service"], release="123", values={"fullnameOverride": "twinlock"})


def test_every_refusal_has_its_test():
    text = "".join((CHART / "templates" / name).read_text() for name in ("_checked.tpl", "_sidecar.tpl"))
    sentences = re.findall(r'fail (?:\(printf )?"([^"]+)"', text)
    assert len(sentences) == text.count("fail ") > 30
    tested = [it[2].replace("server.listen", "%s") for it in REFUSED]
    tested += ["initialize is true", "twinlock.sidecar needs mode", "fullnameOverride is missing"]
    assert [it for it in sentences if not any(begin in it for begin in tested)] == []
    assert all(it.endswith(".") for it in sentences)


def test_the_sidecar_template_refuses_what_cannot_work(example):
    for values, sentence in [
        ({"twinlock": {"initialize": True}}, "initialize is true"),
        ({"twinlock": {"mode": "service", "insecure": True}}, "twinlock.sidecar needs mode sidecar"),
    ]:
        with pytest.raises(Refused, match=sentence):
            render(chart=example, values=values)


@pytest.mark.parametrize("version", HELMS)
def test_the_example_is_valid(version, example):
    manifests = render(chart=example, version=version, release="shop")
    for manifest in manifests:
        for minor in MINORS:
            kubernetes_validate.validate(manifest, minor, strict=True)
    assert_right(manifests)
    spec = find(manifests, "Deployment")["spec"]["template"]["spec"]
    assert [it["name"] for it in spec["initContainers"]] == ["twinlock"]
    ordinary = render(chart=example, version=version, values={"twinlock": {"sidecar": {"native": False}}})
    spec = find(ordinary, "Deployment")["spec"]["template"]["spec"]
    assert [it["name"] for it in spec["containers"]] == ["shop", "twinlock"]
    assert not spec["initContainers"]


def schema():
    return json.loads((CHART / "values.schema.json").read_text())


def defaults():
    return yaml.safe_load((CHART / "values.yaml").read_text())


def schema_at(path):
    """The schema of a value; None where a map above it takes any key."""
    at = schema()
    for key in path:
        if at.get("additionalProperties") is not False:
            return None
        assert key in at["properties"], f"{'.'.join(path)} is not in the schema"
        at = at["properties"][key]
    return at


def test_the_schema_knows_every_value_and_no_other():
    known = set()

    def walk(at, path):
        if at.get("additionalProperties") is False:
            for key, below in at["properties"].items():
                walk(below, (*path, key))
        else:
            known.add(path)

    walk(schema(), ())
    given = set()
    for path, _ in leaves(defaults()):
        # A map that takes any key ends a path.
        while schema_at(path) is None:
            path = path[:-1]
        given.add(path)
    # Helm's own, and one that only a map of resources may have.
    more = {("global",), ("resources", "claims"), ("backup", "resources", "claims")}
    assert {it for it in known - given if it[0] != "config"} == more
    assert given - known == set()


def test_the_schema_knows_every_setting_and_no_other():
    """What docs/configuration.md has, whose tables a test of the server compares with it."""
    settings, section = set(), None
    for line in (ROOT / "docs/configuration.md").read_text().splitlines():
        if heading := re.match(r"## (?:`\[+([a-z0-9_.]+)\]+`)?", line):
            section = heading[1]
        elif section and (row := re.match(r"\| `([a-z0-9_]+)` \|", line)):
            settings.add((*section.split("."), row[1]))
    config = schema()["properties"]["config"]
    known = {("caller", key) for key in config["properties"]["caller"]["items"]["properties"]}

    def walk(at, path):
        for key, below in at["properties"].items():
            if "properties" in below:
                assert below["additionalProperties"] is False
                walk(below, (*path, key))
            elif key != "caller":
                known.add((*path, key))

    walk(config, ())
    assert len(settings) > 50
    assert known == settings


def test_every_value_of_a_template_is_in_the_schema():
    assert len(used_paths()) > 80
    for path in used_paths():
        schema_at(path)


def own_path(path):
    while path and schema_at(path) is None:
        path = path[:-1]
    return path


def test_every_value_is_set_by_a_case_and_changes_what_is_rendered(example):
    """Each value of each case is taken away: something else must be rendered, or nothing."""

    def whole(values):
        manifests = render(values=values)
        if values.get("mode") == "sidecar" and not values.get("initialize"):
            # What the application takes up.
            manifests += render(chart=example, values={"twinlock": values})
        return manifests

    jobs = []
    for name, files in CASES.items():
        *base, values = [yaml.safe_load(file.read_text()) for file in files]
        for path, _ in leaves(values):
            jobs.append((name, path, [*base, without(values, path)]))
    expected = {name: whole(merged([yaml.safe_load(file.read_text()) for file in files])) for name, files in CASES.items()}

    def differs(job):
        name, _, parts = job
        try:
            return whole(merged(parts)) != expected[name]
        except Refused:
            return True

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(differs, jobs))
    without_effect = {(name, ".".join(path)) for (name, path, _), it in zip(jobs, outcomes) if not it}
    assert without_effect == WITHOUT_EFFECT
    effective = {own_path(path) for (_, path, _), it in zip(jobs, outcomes) if it}
    missing = {own_path(path) for path, _ in leaves(defaults())} - effective
    assert {".".join(path) for path in missing} == set()


# Written out, though they say what holds anyway.
WITHOUT_EFFECT = {
    ("embedded/volume", "replicaCount"),
    # Nothing is scaled while no server runs.
    ("service/initialize", "autoscaling.enabled"),
    ("service/restore", "autoscaling.enabled"),
    # The chart's own go before them.
    ("service/labels", "podLabels.app.kubernetes.io/component"),
    ("service/labels", "commonLabels.app.kubernetes.io/name"),
}


def merged(parts):
    def merge(into, other):
        for key, value in other.items():
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                merge(into[key], value)
            else:
                into[key] = copy.deepcopy(value)
        return into

    whole = {}
    for part in parts:
        merge(whole, part)
    return whole


@pytest.mark.parametrize("name", ["service", "sidecar", "embedded"])
def test_the_least_values_render_as_they_did(name):
    """`SNAPSHOT=update helm/tests/run -k as_they_did` writes what is rendered now."""
    file = ROOT / f"helm/tests/snapshots/{name}.yaml"
    text = yaml.safe_dump_all(manifests(name), sort_keys=False, width=120)
    if os.environ.get("SNAPSHOT") == "update":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert file.read_text() == text


def test_the_readme_is_made_of_the_comments():
    subprocess.run([sys.executable, ROOT / "helm/readme", "--check"], check=True)


def test_notes_say_the_next_command():
    def notes(name):
        # `helm template` leaves them out; a dry run without a cluster has them.
        arguments = [argument for file in CASES[name] for argument in ("--values", file)]
        text = helm("helm4", "install", "twinlock", CHART, "--dry-run=client", "--namespace", "auth", *arguments)
        return text.split("NOTES:")[1]

    assert "set initialize=false" in notes("service/initialize")
    assert "rollout status deployment/twinlock" in notes("service")
    assert "rollout status statefulset/twinlock" in notes("embedded")
    assert "helm test twinlock" in notes("service/backup-and-test")
    assert "/twinlock health --address unix:" in notes("sidecar")
    assert "WARNING: insecure" in notes("service/mesh")
    assert "WARNING: config.login.mode is legacy" in notes("service/legacy")
    assert "dns:///twinlock-headless" in notes("service/headless")
    assert "--set restore.file=null" in notes("service/restore")


def test_alert_rules_pass_promtool(tmp_path):
    rules = find(manifests("service/monitoring"), "PrometheusRule")["spec"]
    assert rules["groups"]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    subprocess.run(["promtool", "check", "rules", file], check=True)
    # Their series come under the name that the ServiceMonitor gives.
    endpoint = find(manifests("service/monitoring"), "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "twinlock"}]


def test_the_dashboard_is_packaged():
    config_map = find(manifests("service/monitoring"), "ConfigMap", "twinlock-dashboard")
    assert json.loads(config_map["data"]["twinlock.json"]) == json.loads((CHART / "files/dashboard.json").read_text())


def test_nobody_but_callers_and_the_release_gets_in():
    policy = find(manifests("service/network-policy"), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    ports = {rule["ports"][0]["port"]: rule["from"] for rule in policy["ingress"]}
    assert set(ports) == {"grpc", "metrics"}
    assert len(ports["grpc"]) == 2 and all(it for it in ports["grpc"])
    out = sorted(port["port"] for rule in policy["egress"] for port in rule["ports"])
    assert out == [53, 53, 4317, 6238, 6379, 6380]
    for rule in policy["egress"]:
        assert rule.get("to") or rule["ports"][0]["port"] == 53
    assert find(manifests("service/cluster"), "NetworkPolicy")["spec"]["egress"][2]["ports"] == [
        {"port": 7000}, {"port": 7001}, {"port": 7002},
    ]


def test_every_selector_selects_its_pods_alone():
    for name in CASES:
        server = [it for it in manifests(name) if it["kind"] in ("Deployment", "StatefulSet")]
        if not server:
            continue
        labels = server[0]["spec"]["template"]["metadata"]["labels"]
        others = [
            it["spec"].get("template", it["spec"].get("jobTemplate", {}).get("spec", {}).get("template", it))["metadata"]["labels"]
            for it in manifests(name) if it["kind"] in ("Job", "CronJob", "Pod")
        ]
        for it in manifests(name):
            if it["kind"] in ("Service", "PodDisruptionBudget", "Deployment", "StatefulSet"):
                selector = it["spec"]["selector"]
                selector = selector.get("matchLabels", selector)
                assert selector.items() <= labels.items()
                for other in others:
                    assert not selector.items() <= other.items(), (name, it["kind"])


def test_labels_give_way_to_nearer_ones_and_to_the_charts_own():
    given = manifests("service/labels")
    labels = find(given, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert (labels["team"], labels["app.kubernetes.io/component"], labels["app.kubernetes.io/name"]) == ("security", "server", "twinlock")
    assert find(given, "ServiceMonitor")["metadata"]["labels"]["release"] == "other"
    assert find(given, "Deployment")["metadata"]["labels"]["release"] == "prometheus"


def test_the_chart_packs(tmp_path):
    for version in HELMS:
        helm(version, "package", CHART, "--destination", tmp_path)
        packed = render(*CASES["service"], version=version, chart=tmp_path / "twinlock-0.1.0.tgz")
        assert packed == manifests("service")


def test_versions_and_annotations_agree():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert chart["appVersion"] == version
    annotations = chart["annotations"]
    assert yaml.safe_load(annotations["artifacthub.io/images"])[0]["image"].endswith(f":{version}")
    for name in ("links", "changes", "recommendations", "images"):
        assert isinstance(yaml.safe_load(annotations[f"artifacthub.io/{name}"]), list)
    assert documents((CHART / "values.yaml").read_text())
    assert (VALUES / "service.yaml").exists()

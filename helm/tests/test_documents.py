"""What docs/kubernetes.md and the READMEs show is what works."""

import base64
import hashlib
import os
import re
import shlex
import subprocess

import kubernetes_validate
import pytest
import yaml

from chart import BINARY, CHART, HELMS, ROOT, TOOLS, documents, find, helm, render
from test_render import CUSTOM, MINORS, assert_right

PAGE = ROOT / "docs/kubernetes.md"
PAGES = [PAGE, CHART / "README.md", ROOT / "examples/helm-sidecar/README.md"]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def values_of(page):
    return [it for it in blocks(page, "yaml") if it.startswith("# values.yaml")]


def installations(page):
    """The commands that install or upgrade; all are for the first values of their page."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if re.match("helm (install|upgrade) ", line)]


def test_the_pages_show_what_they_should():
    assert len(values_of(PAGE)) == 2 and len(values_of(CHART / "README.md")) == 1
    assert [len(installations(page)) for page in PAGES] == [5, 2, 2]


@pytest.mark.parametrize("version", HELMS)
def test_the_values_are_right(version, tmp_path):
    for page in PAGES:
        for number, text in enumerate(values_of(page)):
            file = tmp_path / f"{number}.yaml"
            file.write_text(text)
            manifests = render(file, version=version)
            assert_right(manifests)
            for it in manifests:
                for minor in MINORS:
                    if it["kind"] not in CUSTOM:
                        kubernetes_validate.validate(it, minor, strict=True)


@pytest.mark.parametrize("version", HELMS)
def test_the_commands_do_what_is_said(version, tmp_path, example):
    """What they would install; `helm template` knows their options."""
    for page in PAGES:
        for words in installations(page):
            (tmp_path / "values.yaml").write_text(next(iter(values_of(page)), ""))
            places = {
                "helm/twinlock": CHART,
                "values.yaml": tmp_path / "values.yaml",
                ".": example,
                "charts/twinlock-0.1.0.tgz": example / "charts/twinlock-0.1.0.tgz",
            }
            rest = [str(places.get(word, word)) for word in words[2:]]
            manifests = documents(helm(version, "template", *rest))
            if "initialize=true" in rest:
                assert "init" in find(manifests, "Job")["spec"]["template"]["spec"]["containers"][0]["args"]
            elif "restore.file=" in " ".join(rest):
                assert find(manifests, "Job")["spec"]["template"]["spec"]["containers"][0]["args"][0] == "restore"
            else:
                assert find(manifests, "Deployment")["spec"]["replicas"] > 0
                assert not any(it["kind"] == "Job" for it in manifests)


def test_the_secrets_are_those_that_the_values_name(tmp_path):
    """The commands are run, with kubectl printing what it would create."""
    (block,) = re.findall(r"^## Secrets$.*?^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "twinlock").symlink_to(BINARY)
    kubectl = programs / "kubectl"
    kubectl.write_text(f'#!/bin/sh\n{TOOLS}/helm4/kubectl/kubectl "$@" --dry-run=client --output yaml >>"$SECRETS" && echo --- >>"$SECRETS"\n')
    kubectl.chmod(0o755)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).write_text(name)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "SECRETS": str(tmp_path / "secrets.yaml")}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    secrets = {it["metadata"]["name"]: it["data"] for it in documents((tmp_path / "secrets.yaml").read_text())}
    # What it printed are the hashes of the tokens, for config.caller.
    printed = yaml.safe_load("\n".join(line for line in done.stdout.splitlines() if re.match(r"(shop|operator|test): ", line)))
    assert set(printed) == {"shop", "operator", "test"}
    for name, digest in printed.items():
        token = base64.b64decode(secrets[f"twinlock-{name}"]["token"])
        assert hashlib.sha256(token).hexdigest() == digest and not token.endswith(b"\n")
    keyring = tmp_path / "mounted.toml"
    keyring.write_bytes(base64.b64decode(secrets["twinlock-keyring"]["keyring.toml"]))
    keyring.chmod(0o600)
    subprocess.run(
        [BINARY, "init", "--new-dataset", "--set", f"keyring.file={keyring}", "--set", f"store.path={tmp_path}/data"],
        check=True, capture_output=True,
    )
    # Every Secret that the first example mounts is made by them, but for Redis's.
    file = tmp_path / "values.yaml"
    file.write_text(values_of(PAGE)[0])
    for it in render(file):
        pod = it.get("spec", {}).get("jobTemplate", it).get("spec", {}).get("template", it)
        for volume in pod.get("spec", {}).get("volumes", []):
            if "secret" in volume and volume["secret"]["secretName"] != "redis":
                made = secrets[volume["secret"]["secretName"]]
                assert {item["key"] for item in volume["secret"]["items"]} <= set(made)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), (page, target)
        for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text()):
            text = ((page.parent / target) if target else page).read_text()
            headings = {re.sub(r"[^a-z0-9 -]", "", it.lower()).replace(" ", "-") for it in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
            assert anchor in headings, (page, target, anchor)

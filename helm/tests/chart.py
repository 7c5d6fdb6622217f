"""The chart: where it is, what it renders, and its values."""

import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/twinlock"
VALUES = ROOT / "helm/tests/values"
TOOLS = ROOT / "tests/.tools/kubernetes"
BINARY = ROOT / "target/debug/twinlock"
HELMS = ("helm3", "helm4")
RELEASE, NAMESPACE = "twinlock", "auth"


class Refused(Exception):
    """Helm does not render these values."""


def helm(version, *arguments):
    program = TOOLS / version / "helm/helm"
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr.strip())
    return done.stdout


def render(*files, version="helm4", chart=CHART, release=RELEASE, set=(), values=None):
    """The manifests, parsed; `values` are more of them, which count most."""
    arguments = ["template", release, chart, "--namespace", NAMESPACE]
    for file in files:
        arguments += ["--values", file]
    for one in set:
        arguments += ["--set", one]
    if values is None:
        return documents(helm(version, *arguments))
    done = subprocess.run(
        [TOOLS / version / "helm/helm", *map(str, arguments), "--values", "-"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise Refused(done.stderr.strip())
    return documents(done.stdout)


def documents(text):
    return [document for document in yaml.load_all(text, Loader) if document]


class Loader(yaml.CSafeLoader):
    """Refuses a key that is there twice, which Kubernetes would take for the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"twice the same key: {twice} {node.start_mark}")
        return super().construct_mapping(node, deep)


def cases():
    """Every value file, with the one that it adds to, by name."""
    found = {}
    for base in sorted(VALUES.glob("*.yaml")):
        found[base.stem] = [base]
        for case in sorted((VALUES / base.stem).glob("*.yaml")):
            found[f"{base.stem}/{case.stem}"] = [base, case]
    return found


def find(manifests, kind, name=None):
    found = [it for it in manifests if it["kind"] == kind and name in (None, it["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pod_specs(manifests):
    """Every pod that the manifests make: (kind, pod's spec)."""
    for manifest in manifests:
        kind, spec = manifest["kind"], manifest.get("spec", {})
        if kind == "Pod":
            yield kind, spec
        elif kind in ("Deployment", "StatefulSet", "Job"):
            yield kind, spec["template"]["spec"]
        elif kind == "CronJob":
            yield kind, spec["jobTemplate"]["spec"]["template"]["spec"]


def leaves(values, path=()):
    """The ends of a tree of values: (path, value)."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, values


def without(values, path):
    """The values without the one at the path."""
    head, *rest = path
    if not rest:
        return {key: value for key, value in values.items() if key != head}
    return {**values, head: without(values[head], rest)}


def used_paths():
    """The values that the templates name in full."""
    text = "\n".join(file.read_text() for file in (CHART / "templates").rglob("*") if file.is_file())
    return {tuple(match.split(".")) for match in re.findall(r"\.Values\.([A-Za-z.]+[A-Za-z])", text)}

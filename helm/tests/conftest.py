"""What several tests share."""

import shutil

import pytest

from chart import ROOT, helm


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """The example application's chart, with its dependency."""
    copy = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "helm", copy / "helm", ignore=shutil.ignore_patterns("tests"))
    shutil.copytree(ROOT / "examples/helm-sidecar", copy / "examples/helm-sidecar", ignore=shutil.ignore_patterns("charts"))
    helm("helm4", "dependency", "update", copy / "examples/helm-sidecar")
    return copy / "examples/helm-sidecar"

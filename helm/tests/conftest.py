"""What several tests share."""

import shutil

import pytest

from chart import NAMESPACE, ROOT, helm
from cluster import Cluster
from pods import Redis, keyring


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """The example application's chart, with its dependency."""
    copy = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "helm", copy / "helm", ignore=shutil.ignore_patterns("tests"))
    shutil.copytree(ROOT / "examples/helm-sidecar", copy / "examples/helm-sidecar", ignore=shutil.ignore_patterns("charts"))
    helm("helm4", "dependency", "update", copy / "examples/helm-sidecar")
    return copy / "examples/helm-sidecar"


@pytest.fixture
def cluster():
    with Cluster(NAMESPACE) as cluster:
        cluster.secret("twinlock-keyring", keyring_toml=keyring())
        yield cluster


@pytest.fixture
def redis(cluster):
    redis = Redis(cluster)
    yield redis
    redis.stop()

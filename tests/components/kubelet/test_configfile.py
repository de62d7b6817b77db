"""The kubelet's configuration file and flags, and which of them wins."""

import argparse

import pytest

from kubeglass.components.kubelet.flags import add_flags, configuration, tracing
from kubeglass.components.machinery.process import ConfigError

HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


@pytest.fixture
def parse(tmp_path):
    def parsed(text: str, *argv: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        add_flags(parser)
        parser.add_argument("--tracing-config-file", default="")
        file = tmp_path / "kubelet.yaml"
        file.write_text(text)
        return parser.parse_args([f"--root-dir={tmp_path}", f"--config={file}", *argv])

    return parsed


def test_file_over_defaults(parse):
    """What the file says is used; what it does not say is upstream's default."""
    config = configuration(
        parse(
            HEAD + "clusterDNS: [127.96.0.10]\ncontainerLogMaxSize: 1Mi\ncontainerLogMaxFiles: 3\nmaxPods: 7\n"
            "nodeStatusUpdateFrequency: 5s\nstaticPodPath: /etc/kubernetes/manifests\nregisterNode: false\n"
            "authentication: {x509: {clientCAFile: /ca.crt}}\n"
        )
    )
    assert config.cluster_dns == ("127.96.0.10",)
    assert (config.container_log_max_size, config.container_log_max_files, config.max_pods) == (1 << 20, 3, 7)
    assert config.node_status_update_seconds == 5.0
    assert str(config.static_pod_path) == "/etc/kubernetes/manifests"
    assert config.register_node is False
    assert config.client_ca_file == "/ca.crt"
    assert (config.port, config.cluster_domain, config.sync_frequency_seconds) == (10250, "cluster.local", 60.0)


def test_flags_over_file(parse):
    """A flag wins, even when it gives the default."""
    config = configuration(parse(HEAD + "maxPods: 7\nport: 1\n", "--max-pods=110", "--port=2"))
    assert (config.max_pods, config.port) == (110, 2)


def test_tracing_block(parse):
    """The block says where spans go; without one tracing is off."""
    found = tracing(parse(HEAD + "tracing: {endpoint: 'localhost:4317', samplingRatePerMillion: 5}\n"))
    assert (found.endpoint, found.sampling_rate_per_million) == ("localhost:4317", 5)
    assert tracing(parse(HEAD)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "maxPodz: 7\n", 'strict decoding error: unknown field "maxPodz"'),
        (HEAD + "authentication: {x509: {ca: a}}\n", 'strict decoding error: unknown field "authentication.x509.ca"'),
        (HEAD + "maxPods: many\n", "Expected `int"),
        (HEAD + "syncFrequency: soon\n", "sync_frequency"),
        ("kind: Pod\napiVersion: v1\n", 'no kind "Pod" is registered for version "v1"'),
        ("a: [", "failed to load kubelet config file"),
    ],
)
def test_refusals(parse, text, message):
    """A bad file is refused with the reason and its path."""
    with pytest.raises(ConfigError, match=r"kubelet\.yaml|sync") as caught:
        configuration(parse(text))
    assert message in str(caught.value)


def test_bad_tracing(parse):
    """A sampling rate out of range is refused in upstream's words."""
    with pytest.raises(ConfigError, match=r"samplingRatePerMillion"):
        tracing(parse(HEAD + "tracing: {samplingRatePerMillion: 2000000}\n"))

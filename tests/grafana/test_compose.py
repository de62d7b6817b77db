"""docker-compose.yml: complete, closed to the outside, and in agreement with the files it mounts."""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from kubeglass.components.cli.main import main as kubeglass
from kubeglass.components.cli.plan import Ports

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def resolved() -> dict[str, object]:
    """The file as `docker compose config` resolves it: by compose itself, or by compose-go, its loader."""
    compose_go = Path(os.environ.get("XDG_CACHE_HOME", ROOT / ".cache")) / "bin" / "compose-go"
    if shutil.which("docker") and _answers("docker", "compose", "version"):
        command = ["docker", "compose", "-f", "docker-compose.yml", "config", "--format", "json"]
    elif compose_go.exists():
        command = [str(compose_go), "-format", "json", "docker-compose.yml"]
    else:
        pytest.skip("needs docker compose, or Go 1.24 to build compose-go with: sh tests/install-servers")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_compose_itself_accepts_the_file():
    """Schema, references between services, volumes and configs, interpolation: nothing is wrong, nothing is lost."""
    model = resolved()
    assert model["name"] == "kubeglass"
    assert set(model["services"]) == set(SERVICES)
    assert set(model["volumes"]) == set(COMPOSE["volumes"])
    assert set(model["configs"]) == set(COMPOSE["configs"])
    for name, service in model["services"].items():
        assert service.get("image") == SERVICES[name].get("image"), name
        assert set(service.get("depends_on", {})) >= set(SERVICES[name].get("depends_on", {})), name
        published = {port["host_ip"] for port in service.get("ports", ())}
        assert published <= {"127.0.0.1"}, name


def test_everything_is_there_and_has_a_health_check():
    """The cluster, the collector, Prometheus, Alertmanager, Jaeger, Grafana; images are pinned."""
    lasting = {name: service for name, service in SERVICES.items() if name != "prometheus-config"}
    assert set(lasting) == {"kubeglass", "otel-collector", "jaeger", "prometheus", "alertmanager", "grafana"}
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in lasting.values())
    tags = [service["image"].partition(":")[2] for service in SERVICES.values()]
    assert all(tag and tag != "latest" for tag in tags)


def test_nothing_is_published_beyond_loopback():
    """Every published port is the host's 127.0.0.1; only the shared namespace publishes."""
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert name == "kubeglass" or service["network_mode"] == "service:kubeglass"
        assert not service.get("privileged")


def test_there_is_no_password_to_guess():
    """Grafana has no administrator and no login; nobody else has a password at all."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert "password" not in (ROOT / "docker-compose.yml").read_text().lower().replace("no password", "")


def test_no_two_listen_on_one_port():
    """Whoever shares the namespace keeps away from the cluster's ports and from each other."""
    taken = Counter(
        str(getattr(Ports(), name)) for name in Ports.__struct_fields__ if name not in ("prometheus", "alertmanager")
    )
    for name, service in SERVICES.items():
        if name in ("kubeglass", "prometheus-config"):
            continue
        words = [*service.get("command", ()), *service.get("environment", {}).items()]
        listens = {
            str(word).rsplit(":", 1)[-1].rstrip("')")
            for word in words
            if any(
                mark in str(word)
                for mark in ("host-port", "listen-address=0", "OTLP_", "metrics::address", "HTTP_PORT")
            )
        }
        taken.update(port.rpartition(" ")[2].strip("'") for port in listens)
    assert {"14317", "24317", "26686", "9090", "9093", "3000", "18888"} <= set(taken)
    assert [port for port, count in taken.items() if count > 1] == []


def test_what_is_mounted_exists():
    """Every file and folder of ours that a service mounts is in the tree."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_clusters_command_is_one(capsys):
    """The flags of `up` and of prometheus-config are known."""
    with pytest.raises(SystemExit) as done:
        kubeglass([*SERVICES["kubeglass"]["command"], "--help"])
    assert done.value.code == 0
    assert "--component-flag" in capsys.readouterr().out
    script = SERVICES["prometheus-config"]["command"][0]
    words = script.partition("kubeglass ")[2].partition(">")[0].replace("'", "").split()
    with pytest.raises(SystemExit) as done:
        kubeglass([*words, "--help"])
    assert done.value.code == 0

"""Image names and the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeglass.components.kubelet.runtime.images import (
    Catalog,
    CatalogError,
    InvalidImageNameError,
    default_pull_policy,
    parse,
)


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("bitnami/nginx", "docker.io/bitnami/nginx:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64),
    ],
)
def test_names_are_normalised_as_docker_does(image: str, full: str) -> None:
    """Registry, library/ and :latest are filled in."""
    assert str(parse(image)) == full


@pytest.mark.parametrize("image", ["", "UPPER", "a b", "nginx:", "nginx:-x", "a@sha256:12", "//x"])
def test_bad_names_are_refused(image: str) -> None:
    """What no registry accepts is InvalidImageName."""
    with pytest.raises(InvalidImageNameError, match="invalid reference format"):
        parse(image)


def test_pull_policies() -> None:
    """:latest is always pulled, a tag only when absent."""
    assert default_pull_policy("nginx") == "Always"
    assert default_pull_policy("nginx:1.27") == "IfNotPresent"


def test_entrypoint_and_command_follow_the_rules_of_images() -> None:
    """`command` replaces ENTRYPOINT and CMD, `args` replaces CMD."""
    catalog = Catalog.load()
    assert catalog.program("busybox", (), ()).args == ["/bin/sh"]
    assert catalog.program("busybox:1", (), ("echo", "x")).args == ["echo", "x"]
    assert catalog.program("debian", ("sleep",), ("1",)).args == ["sleep", "1"]
    agnhost = catalog.program("registry.k8s.io/e2e-test-images/agnhost:2.39", (), ("netexec", "--http-port=80"))
    assert agnhost.builtin
    assert list(agnhost.args[-3:]) == ["agnhost", "netexec", "--http-port=80"]
    assert not catalog.program("nginx", ("sleep", "1"), ()).builtin


def test_users_add_images_and_win(tmp_path: Path) -> None:
    """Rows of the user's file come first; a broken file is named in the error."""
    file = tmp_path / "images.yaml"
    file.write_text("images: [{names: [example.com/app, nginx], entrypoint: [/usr/bin/env]}]")
    catalog = Catalog.load([file])
    assert catalog.program("example.com/app:2", (), ("-0",)).args == ["/usr/bin/env", "-0"]
    assert catalog.program("nginx", (), ()).args == ["/usr/bin/env"]
    file.write_text("images: [{names: [x], entrypint: [/x]}]")
    with pytest.raises(CatalogError, match=r"images\.yaml.*entrypint"):
        Catalog.load([file])

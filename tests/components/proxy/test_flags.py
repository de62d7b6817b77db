"""Flags of the proxy that it cannot work with are refused, with what is wrong."""

from __future__ import annotations

import pytest

from kubeglass.components.machinery.process import run_component
from kubeglass.components.proxy.proxy import COMPONENT

NODE = ("--hostname-override=node-1", "--proxy-mode=iptables")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--hostname-override is required"),
        ((*NODE, "--node-ip=fd00::1"), "invalid --node-ip"),
        ((*NODE, "--node-ip=127.64.0.1", "--cluster-cidr=127.128.0.0/33"), "invalid --cluster-cidr"),
        ((*NODE, "--iptables-sync-period=500ms"), "not less than --iptables-min-sync-period"),
        ((*NODE, "--iptables-sync-period=0s", "--iptables-min-sync-period=0s"), "must be greater than 0"),
    ],
)
def test_what_is_refused_by_name(flags: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In one line, with exit status 1."""
    assert run_component(COMPONENT, flags) == 1
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    "flag", ["--proxy-mode=ipvs", "--iptables-masquerade-bit=32", "--masquerade-all=perhaps", "--cleanup=maybe"]
)
def test_what_is_no_value(flag: str) -> None:
    """Refused by the parser, as every component's flags."""
    with pytest.raises(SystemExit):
        run_component(COMPONENT, (flag,))

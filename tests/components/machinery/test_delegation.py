"""How long a component lets somebody in whom the API server has let in, when there is no API server any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kubeglass.components.api.kinds import TOKEN_REVIEW, Kind
from kubeglass.components.machinery import delegation
from kubeglass.components.machinery.delegation import DelegatedAuthorizer
from kubeglass.components.machinery.transport import Unreachable

KUBELET = {"group": "", "version": "v1", "resource": "nodes", "subresource": "metrics", "name": "node-1"}


class Server:
    """An API server's reviews, until it is gone: everybody is `user`, who may read as long as `allows`."""

    def __init__(self, allows: bool) -> None:
        self.allows, self.gone = allows, False

    async def create(self, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
        if self.gone:
            raise Unreachable("cannot reach it")
        if kind == TOKEN_REVIEW:
            return {"status": {"authenticated": True, "user": {"username": "user"}}}
        return {"status": {"allowed": self.allows}}


@pytest.mark.parametrize(
    ("resource", "allows", "seconds"),
    [(None, True, 10), (None, False, 10), (KUBELET, True, 120), (KUBELET, False, 30)],
    ids=["a server lets in", "a server refuses", "a kubelet lets in", "a kubelet refuses"],
)
async def test_answers_are_kept(
    resource: dict[str, str] | None, allows: bool, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as upstream's components keep them; a kubelet knows a token for shorter than what its bearer may do."""
    clock = SimpleNamespace(now=1000.0)
    loop = SimpleNamespace(time=lambda: clock.now)
    monkeypatch.setattr(delegation, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    server = Server(allows)
    authorizer = DelegatedAuthorizer(server, resource)  # type: ignore[arg-type]  # has the one verb that is used

    async def status() -> int:
        return (await authorizer({"Authorization": "Bearer t"}, None, "GET", "/metrics")).status

    first = await status()
    assert first == (200 if allows else 403)
    server.gone = True
    clock.now += seconds - 1
    assert await status() == first
    clock.now += 1
    assert await status() == 500

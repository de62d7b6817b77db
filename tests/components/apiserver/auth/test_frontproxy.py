"""A front proxy says in headers for whom it asks, and is believed only with its own authority's certificate."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from tests.components.apiserver.conftest import serving

from kubeglass.components.apiserver.options import Options
from kubeglass.components.machinery import certs
from kubeglass.components.machinery.access import Access

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
BODY = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
AS_JANE = {"X_Remote_User": "jane", "X_Remote_Group": "developers", "X_Remote_Extra_Scopes": "read"}


@pytest.mark.parametrize(
    ("common_name", "headers", "status", "user"),
    [
        ("front-proxy-client", AS_JANE, 201, "jane"),
        ("somebody-else", AS_JANE, 401, ""),
        ("front-proxy-client", {}, 201, "system:anonymous"),
    ],
)
async def test_who_a_front_proxy_speaks_for(
    tmp_path: Path, common_name: str, headers: dict[str, str], status: int, user: str
) -> None:
    """An allowed name with headers is that user; another name is refused; without headers nobody is meant."""
    now = datetime.datetime.now(datetime.UTC)
    authority = certs.new_authority("front-proxy-ca", now)
    authority.write(tmp_path / "proxy-ca.crt", tmp_path / "proxy-ca.key")
    certs.new_leaf(authority, common_name, now, client=True).write(tmp_path / "proxy.crt", tmp_path / "proxy.key")
    options = Options(
        requestheader_client_ca_file=str(tmp_path / "proxy-ca.crt"),
        requestheader_allowed_names=("front-proxy-client",),
        authorization_mode=("AlwaysAllow",),
    )
    async with serving(options=options) as api:
        mine = api.access
        api.ssl = Access(
            mine.server, mine.ca_file, str(tmp_path / "proxy.crt"), str(tmp_path / "proxy.key")
        ).ssl_context()
        answer = await api("POST", REVIEW, BODY, **headers)
    assert answer.status == status
    if user:
        about = answer.json["status"]["userInfo"]
        assert about["username"] == user
        if user == "jane":
            assert about["groups"] == ["developers", "system:authenticated"] and about["extra"] == {"scopes": ["read"]}


async def test_headers_of_anyone_else_mean_nothing() -> None:
    """A client with an ordinary certificate cannot become another by writing headers."""
    async with serving() as api:
        answer = await api("POST", REVIEW, BODY, **AS_JANE)
    assert answer.json["status"]["userInfo"]["username"] == "admin"

"""What the audit log holds of a request: as much as the policy says, by whom, as whom, and how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.components.apiserver.conftest import Api, serving

from kubeglass.components.apiserver.options import Options

MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
LEVELS = """
- {level: None, verbs: [list]}
- {level: RequestResponse, resources: [{group: "", resources: [configmaps]}], namespaces: [default]}
- {level: Request, resources: [{group: "", resources: [secrets]}], omitStages: [RequestReceived]}
- {level: Metadata}
"""


class Log:
    """The audit log of a server, and the options that make it write one."""

    def __init__(self, folder: Path, rules: str = LEVELS) -> None:
        policy, self._file = folder / "policy.yaml", folder / "audit.log"
        policy.write_text(f"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:{rules}")
        self.options = Options(audit_policy_file=str(policy), audit_log_path=str(self._file))

    def of(self, audit_id: str) -> list[dict[str, Any]]:
        """The events of one request."""
        events = [json.loads(line) for line in self._file.read_text().splitlines()]
        return [event for event in events if event["auditID"] == audit_id]


async def _ask(api: Api, audit_id: str, method: str, path: str, body: Any = None, **headers: str) -> int:
    answer = await api(method, path, body, Audit_Id=audit_id, **headers)
    return answer.status


async def test_the_first_matching_rule_decides_what_is_recorded(tmp_path: Path) -> None:
    """None nothing, Metadata who and what, Request also the body, RequestResponse also the answer."""
    log = Log(tmp_path)
    async with serving(options=log.options) as api:
        await _ask(api, "none", "GET", MAPS)
        await _ask(api, "both", "POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        await _ask(api, "asked", "POST", SECRETS, {"metadata": {"name": "s"}, "stringData": {"k": "hidden-value"}})
        await _ask(api, "meta", "GET", "/api/v1/namespaces/default")
    assert log.of("none") == []
    received, done = log.of("both")
    assert (received["stage"], done["stage"]) == ("RequestReceived", "ResponseComplete")
    assert "requestObject" not in received and "responseObject" not in received
    assert done["level"] == "RequestResponse" and done["verb"] == "create"
    assert done["objectRef"] == {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"}
    assert done["requestObject"]["data"] == done["responseObject"]["data"] == {"k": "v"}
    assert done["responseStatus"] == {"metadata": {}, "code": 201}
    assert done["annotations"]["authorization.k8s.io/decision"] == "allow"
    (only,) = log.of("asked")
    assert only["stage"] == "ResponseComplete" and "responseObject" not in only
    assert only["requestObject"]["metadata"]["name"] == "s" and "hidden-value" not in json.dumps(only)
    _, plain = log.of("meta")
    assert "requestObject" not in plain and "responseObject" not in plain
    assert plain["user"]["username"] == "admin" and plain["sourceIPs"] == ["127.0.0.1"]


async def test_a_refusal_is_recorded_with_its_words(tmp_path: Path) -> None:
    """responseStatus is the Status that the client got."""
    log = Log(tmp_path)
    async with serving(options=log.options) as api:
        assert await _ask(api, "gone", "GET", f"{MAPS}/nothing") == 404
    status = log.of("gone")[-1]["responseStatus"]
    assert (status["code"], status["status"], status["reason"]) == (404, "Failure", "NotFound")
    assert status["message"] == 'configmaps "nothing" not found' and status["details"]["name"] == "nothing"


async def test_whoever_acts_as_another_is_recorded_as_both(tmp_path: Path) -> None:
    """`user` is the caller, `impersonatedUser` whom the server took it for."""
    log = Log(tmp_path)
    async with serving(options=log.options) as api:
        as_jane = {"Impersonate_User": "jane", "Impersonate_Group": "developers"}
        assert await _ask(api, "jane", "GET", f"{MAPS}/a", **as_jane) == 403
        assert await _ask(api, "self", "GET", f"{MAPS}/a") == 404
    received, done = log.of("jane")
    assert "impersonatedUser" not in received
    assert done["user"]["username"] == "admin" and done["responseStatus"]["code"] == 403
    assert done["impersonatedUser"] == {"username": "jane", "groups": ["developers", "system:authenticated"]}
    assert done["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert all("impersonatedUser" not in event for event in log.of("self"))


async def test_a_watch_is_recorded_when_its_answer_begins_and_when_it_ends(tmp_path: Path) -> None:
    """RequestReceived, ResponseStarted, ResponseComplete; also when the client just goes."""
    log = Log(tmp_path)
    async with serving(options=log.options) as api:
        await _ask(api, "watch", "GET", f"{MAPS}?watch=1&timeoutSeconds=1")
    assert [event["stage"] for event in log.of("watch")] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    assert [event["responseStatus"]["code"] for event in log.of("watch")[1:]] == [200, 200]

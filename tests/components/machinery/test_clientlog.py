"""The wire records of the client have client-go's shapes at each level, and no secret in any of them."""

import io
import json
import re

import pytest

from kubeglass.components.api.kinds import CONFIG_MAP, SECRET
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.transport import Reply, Unreachable
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.setup import build
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer

SECRET_BODY = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"any": "Y2FuYXJ5LXZhbHVl"}}


class Answers:
    """A transport that answers everything alike."""

    host = "127.0.0.1:6443"

    def __init__(self, reply: Reply | None) -> None:
        self.reply = reply

    async def request(self, method, path, *, headers, body, timeout_seconds):
        if self.reply is None:
            raise Unreachable("cannot reach https://127.0.0.1:6443: refused")
        return self.reply

    def stream(self, method, path, *, headers):
        raise NotImplementedError

    async def close(self):
        pass


def client_at(verbosity, reply, logging_format="text"):
    stream = io.StringIO()
    log = build(LoggingOptions(verbosity=verbosity, format=logging_format), stream)
    telemetry = Telemetry(log, Registry(), Tracer(), Health())
    return Client(Access("https://127.0.0.1:6443"), telemetry, "test", Answers(reply)), stream


def reply_of(obj, status=200):
    return Reply(status, {"Content-Type": "application/json", "Set-Cookie": "sid=0123456789"}, json.dumps(obj).encode())


def plain(text):
    """Lines without their headers, the agent and the milliseconds."""
    text = re.sub(r"^[IWEF]\d{4} [^\]]*\] ", "", text, flags=re.M)
    text = re.sub(r"milliseconds=\d+", "milliseconds=N", text)
    return re.sub(r"test/v[^\"\n\\]*", "AGENT", text)


REQUEST = '"Request" verb="GET" url="https://127.0.0.1:6443/api/v1/namespaces/d/configmaps/a" '
HEADERS = "headers=<\n\tAccept: application/json\n\tUser-Agent: AGENT\n >\n"
ANSWERED = "headers=<\n\tContent-Type: application/json\n\tSet-Cookie: [redacted:cookie]\n >"
URL = 'verb="GET" url="https://127.0.0.1:6443/api/v1/namespaces/d/configmaps/a"'
CURL = (
    r'"Request" curlCommand="curl -v -XGET  -H \"Accept: application/json\" -H \"User-Agent: AGENT\" '
    "'https://127.0.0.1:6443/api/v1/namespaces/d/configmaps/a'\"\n"
)
BODY = '"Response Body" body="{\\"kind\\":\\"ConfigMap\\"}"\n'


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        (5, ""),
        (6, f'"Response" {URL} status="200 OK" milliseconds=N\n'),
        (7, REQUEST + HEADERS + '"Response" status="200 OK" milliseconds=N\n'),
        (8, REQUEST + HEADERS + f'"Response" status="200 OK" {ANSWERED} milliseconds=N\n' + BODY),
        (9, CURL + f'"Response" {URL} status="200 OK" {ANSWERED} milliseconds=N\n' + BODY),
        (10, CURL + f'"Response" {URL} status="200 OK" {ANSWERED} milliseconds=N\n' + BODY),
    ],
)
async def test_shape_at_each_level(verbosity, expected):
    """Each level prints what client-go's debugging round tripper prints there, in its order."""
    reply = Reply(200, reply_of({}).headers, b'{"kind":"ConfigMap"}')
    client, stream = client_at(verbosity, reply)
    await client.get(CONFIG_MAP, "a", "d")
    assert plain(stream.getvalue()) == expected


async def test_no_answer_has_no_status():
    """A request that got no answer says so with an empty status."""
    client, stream = client_at(6, None)
    with pytest.raises(Unreachable):
        await client.get(CONFIG_MAP, "a", "d")
    assert plain(stream.getvalue()) == f'"Response" {URL} status="" milliseconds=N\n'


async def test_headers_are_lists_in_json():
    """JSON records hold headers as lists of values."""
    client, stream = client_at(7, reply_of({}), "json")
    await client.get(CONFIG_MAP, "a", "d")
    record = json.loads(stream.getvalue().splitlines()[0])
    assert record["headers"]["Accept"] == ["application/json"]


@pytest.mark.parametrize("verbosity", [8, 9, 10])
@pytest.mark.parametrize("logging_format", ["text", "json"])
async def test_what_a_secret_holds_is_never_printed(verbosity, logging_format):
    """Whole Secrets, lists of them and patches that do not say what they patch are replaced before they are cut."""
    listed = {"kind": "SecretList", "items": [{"metadata": {"name": "a"}, "data": {"any": "Y2FuYXJ5LXZhbHVl"}}]}
    client, stream = client_at(verbosity, reply_of(listed), logging_format)
    await client.create(SECRET, SECRET_BODY, "d")
    await client.list(SECRET)
    await client.patch(SECRET, "db", {"data": {"any": "Y2FuYXJ5LXZhbHVl"}}, "d")
    await client.patch(
        SECRET, "db", [{"op": "add", "path": "/data/any", "value": "Y2FuYXJ5LXZhbHVl"}], "d", patch_type="json"
    )
    await client.patch(SECRET, "db", {"stringData": {"any": "canary-value"}}, "d", patch_type="strategic")
    assert "Y2FuYXJ5" not in stream.getvalue()
    assert "canary" not in stream.getvalue()
    assert "[redacted:secret-data]" in stream.getvalue()

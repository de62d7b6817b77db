"""What is redacted, what stays, and what happens when inspection fails."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import time
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import pytest
from tests.logging.canaries import KINDS

from kubeglass.logging import secrettext
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.sanitize import Sanitizer, Secret
from kubeglass.logging.setup import build
from kubeglass.logging.values import KRef

SANITIZER = Sanitizer()
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer aaa.bbb.ccc", "Authorization: Bearer [redacted:authorization]"),
        ("Basic dXNlcjpwYXNz", "Basic [redacted:basic-auth]"),
        ("https://user:pw@registry.example/v2/", "https://user:[redacted:url-password]@registry.example/v2/"),
        ("GET /x?access_token=abc&b=1", "GET /x?access_token=[redacted:token]&b=1"),
        ("abcdef.0123456789abcdef", "abcdef.[redacted:bootstrap-token]"),
        (f"key {KEY} end", "key [redacted:private-key] end"),
        ('{"auths":{"r":{"auth":"dTpw"}}}', '{"auths":{"r":{"auth":"[redacted:docker-auth]"}}}'),
        ("password=hunter2 user=bob", "password=[redacted:password] user=bob"),
        ("a --token=abc -v", "a --token=[redacted:token] -v"),
        ("['--password', 'abc']", "['--password', '[redacted:argument]']"),
        (
            "{'kind': 'Secret', 'data': {'a': 'YmM='}, 'x': 1}",
            "{'kind': 'Secret', 'data': [redacted:secret-data], 'x': 1}",
        ),
        ("token: eyJhbGciOi.eyJpc3M.c2ln", "token: [redacted:jwt]"),
        ("{Password:hunter2 User:bob}", "{Password:[redacted:password] User:bob}"),
        ("password: swordfish user: bob", "password: [redacted:password] user: bob"),
    ],
)
def test_text(text: str, shown: str) -> None:
    """A secret in free text is replaced by the rule's name; what is around it stays."""
    assert SANITIZER.text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        '"Secret updated" secret="ns/name"',
        "failed to validate token: signature is invalid",
        "token: expired",
        "invalid bearer token",
        "PWD=/root",
        'secret "x" not found',
        "worker.17c3f0a1b2c3d4e5",
        "automountServiceAccountToken=true",
        "--service-account-signing-key-file=/etc/kubernetes/sa.key",
        "Bearer <masked>",
    ],
)
def test_innocent_text_is_the_same_object(text: str) -> None:
    """Text without secrets comes back as it is."""
    assert SANITIZER.text(text) == text


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("password", "x", "[redacted:password]"),
        ("password", 1234, "[redacted:password]"),
        ("token", 3, 3),
        ("token", None, None),
        ("token", "", ""),
        ("automountServiceAccountToken", True, True),
        ("secret", "ns/name", "ns/name"),
        ("secret", "hunter2", "[redacted:secret]"),
        ("secret", KRef("name", "ns"), KRef("name", "ns")),
        ("secretName", "db", "db"),
        ("Authorization", "Bearer abc", "Bearer [redacted:authorization]"),
        ("authorization", ["Basic abc"], ["Basic [redacted:authorization]"]),
        ("Cookie", "a=b", "[redacted:cookie]"),
        ("clientKeyData", b"abc", "[redacted:private-key]"),
        (
            "tokens",
            {"a": "x", "b": {"c": "y", "n": 1}},
            {"a": "[redacted:token]", "b": {"c": "[redacted:token]", "n": 1}},
        ),
        ("PWD", "/root", "/root"),
        ("auth", "rbac", "rbac"),
    ],
)
def test_pairs(key: str, value: Any, shown: Any) -> None:
    """A key that says its value is secret has it replaced; references, flags, counts and nothing stay."""
    assert SANITIZER.pair(key, value) == shown


def test_objects() -> None:
    """API objects are judged by kind and field; everything else of them stays."""
    secret = {
        "kind": "Secret",
        "metadata": {"name": "a"},
        "type": "Opaque",
        "data": {"k": "dg=="},
        "stringData": {"s": "v"},
    }
    hidden = {"k": "[redacted:secret-data]"}
    assert SANITIZER.object(secret) == {**secret, "data": hidden, "stringData": {"s": "[redacted:secret-data]"}}
    items = {"kind": "SecretList", "items": [{"metadata": {"name": "a"}, "data": {"k": "dg=="}}]}
    assert SANITIZER.object(items)["items"][0] == {"metadata": {"name": "a"}, "data": hidden}
    config = {"kind": "ConfigMap", "data": {"k": "v"}}
    assert SANITIZER.object(config) is config
    pod = {"spec": {"containers": [{"env": [{"name": "DB_PASSWORD", "value": "x"}], "args": ["--token", "y", "-v"]}]}}
    shown = SANITIZER.object(pod)["spec"]["containers"][0]
    assert shown == {
        "env": [{"name": "DB_PASSWORD", "value": "[redacted:password]"}],
        "args": ["--token", "[redacted:token]", "-v"],
    }


@pytest.mark.parametrize(
    ("patch", "shown"),
    [
        ({"data": {"k": "dg=="}}, {"data": {"k": "[redacted:secret-data]"}}),
        (
            [
                {"op": "replace", "path": "/data/k", "value": "dg=="},
                {"op": "add", "path": "/metadata/labels/a", "value": "b"},
            ],
            [
                {"op": "replace", "path": "/data/k", "value": "[redacted:secret-data]"},
                {"op": "add", "path": "/metadata/labels/a", "value": "b"},
            ],
        ),
    ],
)
def test_bodies_of_requests_about_secrets(patch: Any, shown: Any) -> None:
    """A patch does not name its kind; who knows it says so."""
    assert json.loads(SANITIZER.body(json.dumps(patch).encode(), "Secret")) == shown


def test_annotations_that_hold_objects() -> None:
    """The last applied configuration of a Secret is itself a Secret."""
    applied = json.dumps({"kind": "Secret", "data": {"k": "dg=="}})
    obj = {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}}}
    assert "dg==" not in json.dumps(SANITIZER.object(obj))


def test_nothing_to_hide_is_the_same_object() -> None:
    """What holds no secret is not copied."""
    value = {"a": [1, {"b": "c d: e"}], "n": None}
    assert SANITIZER.value(value) is value


def test_a_failed_inspection_withholds_the_value_and_keeps_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the search itself fails, the value is replaced; message, keys and other values stay."""

    def broken(text: str) -> str:
        raise RuntimeError("bug")

    monkeypatch.setattr("kubeglass.logging.sanitize.scan", broken)
    told: list[str] = []
    stream = io.StringIO()
    log = build(LoggingOptions(), stream, sanitizer=Sanitizer(on_redaction=told.append))
    log.info("m", detail="password=hunter2", n=1, tree={"x": "token: abc"})
    marker = "[redacted:inspection-failed]"
    assert stream.getvalue().endswith(f'"m" detail="{marker}" n=1 tree="{marker}"\n')
    assert told == ["inspection-failed"] * 2


def test_redactions_are_counted_by_rule() -> None:
    """Who wants to count hears of each rule that fired."""
    told: list[str] = []
    sanitizer = Sanitizer(on_redaction=told.append)
    sanitizer.text("password=a1 and Bearer abc123")
    sanitizer.pair("token", "x")
    assert sorted(told) == ["bearer-auth", "password", "token"]


def test_a_secret_only_leaves_by_reveal() -> None:
    """A Secret shows its marker in every way a value turns into text, and refuses to be pickled."""
    secret = Secret("hunter2")
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>3}", "%s" % secret} == {"[redacted:secret]"}  # noqa: UP031
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert copy.copy([secret]) == [secret]
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    "text",
    [
        "eyJ" * 40_000,
        "token=" * 20_000,
        "a" * 120_000 + ".",
        "://" * 40_000,
        "-" * 120_000,
        "kind: Secret\ndata:\n" + " " * 100_000,
        "-----BEGIN RSA PRIVATE KEY-----" * 4_000,
        "password: \\" * 10_000,
        "\\" * 100_000 + '"password":"x',
        "Secret(data={" * 8_000,
        "bearer " * 15_000,
        "--a-token " * 10_000,
        ", ".join(f"token{n}" for n in range(10_000)),
        "abcdef." * 15_000,
        "password='" + "\\'" * 50_000,
        "/?a=" + "%25" * 30_000,
        "/?a=" + "%41+" * 20_000,
        "?" + "+" * 100_000,
    ],
    ids=lambda text: text[:16],
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    """A hundred kilobytes made to be slow are searched in well under a second, and twice as much in about twice."""
    started = time.process_time()
    secrettext.scan(text)
    once = time.process_time() - started
    secrettext.scan(text * 2)
    assert once < 1.0
    assert time.process_time() - started < max(6 * once, 0.3) + once


@pytest.mark.parametrize("encode", [quote, quote_plus, lambda text: quote(quote(text, safe=""), safe="")])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_percent_encoded_secrets_are_found(kind, encode) -> None:
    """A secret in a URL is found however it is encoded, and what stands beside it stays."""
    chance = random.Random(6)
    for canary in (kind(chance) for _ in range(10)):
        shown = Sanitizer().text(f"/api/v1/pods?labelSelector={encode(canary.looks)}&limit=5")
        assert shown.startswith("/api/v1/pods?labelSelector=")
        assert shown.endswith("&limit=5")
        assert [hidden for hidden in canary.hidden if hidden in unquote(unquote(shown))] == []


def test_json_in_strings_is_read_at_any_depth() -> None:
    """The applied manifest of a Pod deep inside a list is read as the object it is."""
    env = {"spec": {"containers": [{"env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]}}
    meta = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(env)}}
    body = json.dumps({"kind": "PodList", "items": [{"metadata": meta}]}).encode()
    assert b"hunter2" not in Sanitizer().body(body)

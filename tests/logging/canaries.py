"""Secrets of every kind that a sanitizer must find, new ones on every call."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from typing import NamedTuple

LETTERS = string.ascii_letters + string.digits


class Canary(NamedTuple):
    """A secret as it looks where it lives, and the strings of which none may be printed."""

    kind: str
    looks: str  # as it stands in free text
    key: str  # the key it has in an object, "" when only its shape tells
    value: str
    hidden: tuple[str, ...]


def word(chance: random.Random, length: int, alphabet: str = LETTERS) -> str:
    return "".join(chance.choice(alphabet) for _ in range(length))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def b64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def password(chance: random.Random) -> Canary:
    secret = word(chance, 9) + chance.choice("!#%*+-_.^") + word(chance, 3)
    name = chance.choice(("password", "DB_PASSWORD", "adminPassword", "passwd", "passphrase"))
    return Canary("password", f"{name}={secret}", name, secret, (secret,))


def token(chance: random.Random) -> Canary:
    secret = word(chance, 32)
    name = chance.choice(("token", "access_token", "refreshToken", "GITHUB_TOKEN", "id-token"))
    return Canary("token", f"{name}: {secret}", name, secret, (secret,))


def client_secret(chance: random.Random) -> Canary:
    secret = word(chance, 24)
    name = chance.choice(("clientSecret", "AWS_SECRET_ACCESS_KEY", "apiKey", "api_key", "secret-key"))
    return Canary("secret", f'{name}="{secret}"', name, secret, (secret,))


def jwt(chance: random.Random) -> Canary:
    parts = (
        b64url(json.dumps({"alg": "RS256", "kid": word(chance, 8)})),
        b64url(json.dumps({"sub": word(chance, 12)})),
    )
    secret = f"{parts[0]}.{parts[1]}.{word(chance, 40)}"
    return Canary("jwt", f"got {secret} from", "", secret, (secret, parts[1], secret[-30:]))


def jwt_in_secret_data(chance: random.Random) -> Canary:
    secret = b64(jwt(chance).value)
    return Canary("jwt in base64", f"data {secret}", "", secret, (secret, secret[20:60]))


def bearer(chance: random.Random) -> Canary:
    secret = word(chance, 20)
    return Canary("bearer", f"Authorization: Bearer {secret}", "Authorization", f"Bearer {secret}", (secret,))


def basic(chance: random.Random) -> Canary:
    secret = b64(f"admin:{word(chance, 12)}")
    return Canary("basic", f"sent Basic {secret}", "Proxy-Authorization", f"Basic {secret}", (secret,))


def websocket(chance: random.Random) -> Canary:
    secret = b64url(word(chance, 30))
    looks = f"base64url.bearer.authorization.k8s.io.{secret}, v5.channel.k8s.io"
    return Canary("websocket protocol", looks, "", looks, (secret,))


def cookie(chance: random.Random) -> Canary:
    secret = word(chance, 26)
    return Canary("cookie", f"Set-Cookie: sid={secret}; Path=/", "Cookie", f"sid={secret}", (secret,))


def url(chance: random.Random) -> Canary:
    secret = word(chance, 14)
    looks = f"https://robot:{secret}@registry.example.com/v2/"
    return Canary("url", f'Get "{looks}": EOF', "", looks, (secret,))


def query(chance: random.Random) -> Canary:
    secret = word(chance, 22)
    name = chance.choice(("access_token", "token", "X-Amz-Signature", "sig", "api_key"))
    looks = f"/download?a=1&{name}={secret}&b=2"
    return Canary("query", f"GET {looks} 200", "", looks, (secret,))


def exec_argument(chance: random.Random) -> Canary:
    secret = word(chance, 16)
    command = chance.choice((f"--password&command={secret}", f"PGPASSWORD%3D{secret}", f"--token%3D{secret}"))
    looks = f"/api/v1/namespaces/d/pods/p/exec?command=psql&command={command}&stdin=true"
    return Canary("exec", looks, "", looks, (secret,))


def flag(chance: random.Random) -> Canary:
    secret = word(chance, 16)
    name = chance.choice(("--token", "--db-password", "--client-secret"))
    return Canary("flag", f"run {name} {secret} --verbose", "", f"{name}={secret}", (secret,))


def private_key(chance: random.Random) -> Canary:
    body = "\n".join(word(chance, 64) for _ in range(3))
    kind = chance.choice(("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "))
    pem = f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----\n"
    return Canary("private key", f"loaded {pem} fine", "", pem, tuple(body.split("\n")))


def escaped_private_key(chance: random.Random) -> Canary:
    pem = private_key(chance)
    return Canary(
        "escaped private key", json.dumps({"k": pem.value})[1:-1], "", pem.value.replace("\n", "\\n"), pem.hidden
    )


def encoded_private_key(chance: random.Random) -> Canary:
    secret = b64(private_key(chance).value)
    return Canary("key in base64", f"client-key-data: {secret}", "client-key-data", secret, (secret, secret[40:90]))


def bootstrap(chance: random.Random) -> Canary:
    lower = string.ascii_lowercase + string.digits
    secret = word(chance, 15, lower) + "7"
    looks = f"{word(chance, 6, lower)}.{secret}"
    return Canary("bootstrap token", f"kubeadm join --token {looks} --x", "", looks, (secret,))


def docker_config(chance: random.Random) -> Canary:
    secret = b64(f"user:{word(chance, 12)}")
    looks = json.dumps({"auths": {"registry.example": {"auth": secret}}})
    return Canary("docker config", looks, chance.choice(("", ".dockerconfigjson")), looks, (secret,))


def csi_tokens(chance: random.Random) -> Canary:
    secret = word(chance, 40)
    inner = json.dumps({"": {"token": secret, "expirationTimestamp": "2026-01-01T00:00:00Z"}})
    looks = json.dumps({"csi.storage.k8s.io/serviceAccount.tokens": inner})
    return Canary(
        "csi token", f"NodePublishVolume {looks}", "csi.storage.k8s.io/serviceAccount.tokens", inner, (secret,)
    )


def secret_object(chance: random.Random) -> Canary:
    plain = word(chance, 18)
    obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": {"any": b64(plain)}}
    looks = chance.choice(
        (json.dumps(obj), str(obj), json.dumps({**obj, "stringData": {"other": plain}}), f"Secret(data={obj['data']})")
    )
    return Canary(
        "Secret object", looks, "kubectl.kubernetes.io/last-applied-configuration", looks, (b64(plain), plain)
    )


def secret_yaml(chance: random.Random) -> Canary:
    plain = word(chance, 18)
    some, other = b64(plain), b64(plain[::-1])
    looks = f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\ndata:\n  some: {some}\n  other: {other}\n"
    return Canary("Secret yaml", looks, "", looks, (some, other))


def kubeconfig(chance: random.Random) -> Canary:
    secret, other = word(chance, 30), word(chance, 10)
    looks = (
        f"users:\n- name: a\n  user:\n    token: {secret}\n- name: b\n  user:\n    username: b\n    password: {other}\n"
    )
    return Canary("kubeconfig", looks, "", looks, (secret, other))


def github(chance: random.Random) -> Canary:
    secret = f"ghp_{word(chance, 36)}"
    return Canary("github token", f"pushed with {secret} today", "", secret, (secret,))


KINDS: tuple[Callable[[random.Random], Canary], ...] = (
    *(password, token, client_secret, jwt, jwt_in_secret_data, bearer, basic, websocket, cookie, url, query, flag),
    *(exec_argument, private_key, escaped_private_key, encoded_private_key, bootstrap, docker_config, csi_tokens),
    *(secret_object, secret_yaml, kubeconfig, github),
)

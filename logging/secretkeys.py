"""Which names say that their value is secret: `password`, `clientSecret`, `AWS_SECRET_ACCESS_KEY`, `tls.key`.

Only names are judged here. Names that merely mention a secret (`secretName`,
`tokenExpirationSeconds`) are innocent, because it is the end of a name that counts.
"""

from __future__ import annotations

import base64
import binascii
import re

_SEPARATORS = str.maketrans("", "", "-_. /\"'$[]")

_ENDINGS = {
    "password": "password",
    "passwords": "password",
    "passwd": "password",
    "passphrase": "password",
    "pwd": "password",
    "token": "token",
    "tokens": "token",
    "secret": "secret",
    "authorization": "authorization",
    "cookie": "cookie",
    "credential": "credentials",
    "credentials": "credentials",
    "apikey": "api-key",
    "accesskey": "access-key",
    "secretkey": "secret-key",
    "privatekey": "private-key",
    "signingkey": "private-key",
    "encryptionkey": "secret-key",
    "clientkeydata": "private-key",
    "dockerconfigjson": "docker-config",
    "dockercfg": "docker-config",
}
_EXACT = {"tlskey": "private-key", "cakey": "private-key", "auth": "docker-auth"}
_INNOCENT = frozenset(
    ("pwd", "oldpwd", "kuberneteseditsecret", "continuetoken", "nextpagetoken", "pagetoken", "maxtokens")
)
_ENDING = re.compile(f"(?:{'|'.join(sorted(_ENDINGS, key=len, reverse=True))})$")

STRUCTURES = frozenset(("secret", "serviceAccountToken"))
"""Fields of API types whose objects are described, not secret, though their name ends like a secret."""


def rule_of_key(key: str) -> str:
    """The rule a name falls under, "" when it is innocent."""
    name = key.lower().translate(_SEPARATORS)
    exact = _EXACT.get(name)
    if exact is not None:
        return exact
    ending = _ENDING.search(name)
    if ending is None or name in _INNOCENT:
        return ""
    return _ENDINGS[ending[0]]


def is_docker_auth(text: str) -> bool:
    """Whether a value of an `auth` field is base64 of user:password."""
    try:
        return b":" in base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False

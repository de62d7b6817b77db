"""ServiceAccount: every Pod runs as an account that exists, with its token, CA and namespace mounted.

Upstream: plugin/pkg/admission/serviceaccount.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.apiserver.admission.chain import CREATES, Attributes, Plugin
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.admission.refusal import forbidden

Object = dict[str, Any]

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA = "kube-root-ca.crt"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_TOKEN_SECONDS = 60 * 60 + 7
_VOLUME_PREFIX = "kube-api-access-"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_TRIES = 10
_WAIT_SECONDS = 0.1
"""A namespace is given its default account by a controller; a Pod may come before it."""


@dataclass(frozen=True, slots=True)
class _ServiceAccounts:
    reader: Reader

    async def admit(self, attributes: Attributes) -> None:
        pod = attributes.obj
        if attributes.kind != kinds.POD or attributes.subresource or pod is None or _is_mirror(pod):
            return
        spec = pod["spec"]
        name = spec.get("serviceAccountName") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(attributes.namespace, name)
        if account is None:
            where = f"{attributes.namespace}/{name}"
            raise forbidden(attributes, f'error looking up service account {where}: serviceaccount "{name}" not found')
        if _wants_token(spec, account):
            _mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]

    async def _account(self, namespace: str, name: str) -> Object | None:
        for attempt in range(_TRIES):
            account = await self.reader.get(kinds.SERVICE_ACCOUNT, namespace, name)
            if account is not None or name != "default":
                return account
            if attempt < _TRIES - 1:
                await asyncio.sleep(_WAIT_SECONDS)
        return None


def plugin(reader: Reader) -> Plugin:
    return Plugin("ServiceAccount", CREATES, admit=_ServiceAccounts(reader).admit)


def _is_mirror(pod: Object) -> bool:
    return MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {})


def _wants_token(spec: Object, account: Object) -> bool:
    for said in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if said is not None:
            return bool(said)
    return True


def _mount_token(spec: Object) -> None:
    """Add the projected volume and mount it wherever nothing is mounted there already."""
    existing = next((v["name"] for v in spec.get("volumes") or () if v["name"].startswith(_VOLUME_PREFIX)), None)
    name = existing or _VOLUME_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(5))
    needed = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.setdefault("volumeMounts", [])
        if not any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            mounts.append({"name": name, "readOnly": True, "mountPath": MOUNT_PATH})
            needed = True
    if needed and existing is None:
        spec.setdefault("volumes", []).append(_token_volume(name))


def _token_volume(name: str) -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 0o644,
        },
    }

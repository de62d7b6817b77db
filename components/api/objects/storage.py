"""Read-only views: storage classes, attachments and CSI kinds (storage.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.core import PersistentVolumeSpec
from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.struct import Object


class TopologySelectorLabelRequirement(Object):
    key: str = ""
    values: tuple[str, ...] = ()


class TopologySelectorTerm(Object):
    match_label_expressions: tuple[TopologySelectorLabelRequirement, ...] = ()


class StorageClass(Resource):
    allow_volume_expansion: bool | None = None
    allowed_topologies: tuple[TopologySelectorTerm, ...] = ()
    mount_options: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    provisioner: str = ""
    reclaim_policy: str = ""
    volume_binding_mode: str = ""


class VolumeAttachmentSource(Object):
    inline_volume_spec: PersistentVolumeSpec | None = None
    persistent_volume_name: str = ""


class VolumeAttachmentSpec(Object):
    attacher: str = ""
    node_name: str = ""
    source: VolumeAttachmentSource | None = None


class VolumeError(Object):
    error_code: int | None = None
    message: str = ""
    time: str = ""


class VolumeAttachmentStatus(Object):
    attach_error: VolumeError | None = None
    attached: bool = False
    attachment_metadata: dict[str, str] = {}
    detach_error: VolumeError | None = None


class VolumeAttachment(Resource):
    spec: VolumeAttachmentSpec = VolumeAttachmentSpec()
    status: VolumeAttachmentStatus = VolumeAttachmentStatus()


class VolumeNodeResources(Object):
    count: int = 0


class CSINodeDriver(Object):
    allocatable: VolumeNodeResources | None = None
    name: str = ""
    node_id: str = ""
    topology_keys: tuple[str, ...] = ()


class CSINodeSpec(Object):
    drivers: tuple[CSINodeDriver, ...] = ()


class CSINode(Resource):
    spec: CSINodeSpec = CSINodeSpec()


class TokenRequest(Object):
    audience: str = ""
    expiration_seconds: int | None = None


class CSIDriverSpec(Object):
    attach_required: bool = False
    fs_group_policy: str = ""
    node_allocatable_update_period_seconds: int | None = None
    pod_info_on_mount: bool = False
    prevent_pod_scheduling_if_missing: bool = False
    requires_republish: bool = False
    se_linux_mount: bool = False
    service_account_token_in_secrets: bool = False
    storage_capacity: bool = False
    token_requests: tuple[TokenRequest, ...] = ()
    volume_lifecycle_modes: tuple[str, ...] = ()


class CSIDriver(Resource):
    spec: CSIDriverSpec = CSIDriverSpec()

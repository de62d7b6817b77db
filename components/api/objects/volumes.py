"""Read-only views: volumes a Pod may mount (core/v1). Volume plugins of cloud vendors are left out."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import LabelSelector, ObjectMeta
from kubeglass.components.api.objects.struct import Object


class KeyToPath(Object):
    key: str = ""
    mode: int | None = None
    path: str = ""


class ConfigMapVolumeSource(Object):
    default_mode: int = 0o644
    items: tuple[KeyToPath, ...] = ()
    name: str = ""
    optional: bool | None = None


class LocalObjectReference(Object):
    name: str = ""


class CSIVolumeSource(Object):
    driver: str = ""
    fs_type: str = ""
    node_publish_secret_ref: LocalObjectReference | None = None
    read_only: bool = False
    volume_attributes: dict[str, str] = {}


class ObjectFieldSelector(Object):
    api_version: str = ""
    field_path: str = ""


class ResourceFieldSelector(Object):
    container_name: str = ""
    divisor: str = ""
    resource: str = ""


class DownwardAPIVolumeFile(Object):
    field_ref: ObjectFieldSelector | None = None
    mode: int | None = None
    path: str = ""
    resource_field_ref: ResourceFieldSelector | None = None


class DownwardAPIVolumeSource(Object):
    default_mode: int = 0o644
    items: tuple[DownwardAPIVolumeFile, ...] = ()


class EmptyDirVolumeSource(Object):
    medium: str = ""
    size_limit: str = ""


class TypedLocalObjectReference(Object):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class TypedObjectReference(Object):
    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class VolumeResourceRequirements(Object):
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class PersistentVolumeClaimSpec(Object):
    access_modes: tuple[str, ...] = ()
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements = VolumeResourceRequirements()
    selector: LabelSelector | None = None
    storage_class_name: str = ""
    volume_attributes_class_name: str = ""
    volume_mode: str = ""
    volume_name: str = ""


class PersistentVolumeClaimTemplate(Object):
    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeClaimSpec | None = None


class EphemeralVolumeSource(Object):
    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class HostPathVolumeSource(Object):
    path: str = ""
    type: str = ""


class ImageVolumeSource(Object):
    pull_policy: str = ""
    reference: str = ""


class NFSVolumeSource(Object):
    path: str = ""
    read_only: bool = False
    server: str = ""


class PersistentVolumeClaimVolumeSource(Object):
    claim_name: str = ""
    read_only: bool = False


class ClusterTrustBundleProjection(Object):
    label_selector: LabelSelector | None = None
    name: str = ""
    optional: bool | None = None
    path: str = ""
    signer_name: str = ""


class ConfigMapProjection(Object):
    items: tuple[KeyToPath, ...] = ()
    name: str = ""
    optional: bool | None = None


class DownwardAPIProjection(Object):
    items: tuple[DownwardAPIVolumeFile, ...] = ()


class PodCertificateProjection(Object):
    certificate_chain_path: str = ""
    credential_bundle_path: str = ""
    key_path: str = ""
    key_type: str = ""
    max_expiration_seconds: int | None = None
    signer_name: str = ""
    user_annotations: dict[str, str] = {}


class SecretProjection(Object):
    items: tuple[KeyToPath, ...] = ()
    name: str = ""
    optional: bool | None = None


class ServiceAccountTokenProjection(Object):
    audience: str = ""
    expiration_seconds: int = 3600
    path: str = ""


class VolumeProjection(Object):
    cluster_trust_bundle: ClusterTrustBundleProjection | None = None
    config_map: ConfigMapProjection | None = None
    downward_api: DownwardAPIProjection | None = None
    pod_certificate: PodCertificateProjection | None = None
    secret: SecretProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolumeSource(Object):
    default_mode: int = 0o644
    sources: tuple[VolumeProjection, ...] = ()


class SecretVolumeSource(Object):
    default_mode: int = 0o644
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None
    secret_name: str = ""


class Volume(Object):
    config_map: ConfigMapVolumeSource | None = None
    csi: CSIVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    image: ImageVolumeSource | None = None
    name: str = ""
    nfs: NFSVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    secret: SecretVolumeSource | None = None

"""Read-only views: containers: their spec, probes, environment and states (core/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.struct import Object
from kubeglass.components.api.objects.volumes import ObjectFieldSelector, ResourceFieldSelector


class ConfigMapKeySelector(Object):
    key: str = ""
    name: str = ""
    optional: bool | None = None


class FileKeySelector(Object):
    key: str = ""
    optional: bool | None = None
    path: str = ""
    volume_name: str = ""


class SecretKeySelector(Object):
    key: str = ""
    name: str = ""
    optional: bool | None = None


class EnvVarSource(Object):
    config_map_key_ref: ConfigMapKeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    file_key_ref: FileKeySelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    secret_key_ref: SecretKeySelector | None = None


class EnvVar(Object):
    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class ConfigMapEnvSource(Object):
    name: str = ""
    optional: bool | None = None


class SecretEnvSource(Object):
    name: str = ""
    optional: bool | None = None


class EnvFromSource(Object):
    config_map_ref: ConfigMapEnvSource | None = None
    prefix: str = ""
    secret_ref: SecretEnvSource | None = None


class ExecAction(Object):
    command: tuple[str, ...] = ()


class HTTPHeader(Object):
    name: str = ""
    value: str = ""


class HTTPGetAction(Object):
    host: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()
    path: str = ""
    port: int | str | None = None
    scheme: str = ""


class SleepAction(Object):
    seconds: int = 0


class TCPSocketAction(Object):
    host: str = ""
    port: int | str | None = None


class LifecycleHandler(Object):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: SleepAction | None = None
    tcp_socket: TCPSocketAction | None = None


class Lifecycle(Object):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""


class GRPCAction(Object):
    port: int = 0
    service: str = ""


class Probe(Object):
    exec: ExecAction | None = None
    failure_threshold: int = 3
    grpc: GRPCAction | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    success_threshold: int = 1
    tcp_socket: TCPSocketAction | None = None
    termination_grace_period_seconds: int | None = None
    timeout_seconds: int = 1


class ContainerPort(Object):
    container_port: int = 0
    host_ip: str = ""
    host_port: int = 0
    name: str = ""
    protocol: str = ""


class ContainerResizePolicy(Object):
    resource_name: str = ""
    restart_policy: str = ""


class ResourceClaim(Object):
    name: str = ""
    request: str = ""


class ResourceRequirements(Object):
    claims: tuple[ResourceClaim, ...] = ()
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class ContainerRestartRuleOnExitCodes(Object):
    operator: str = ""
    values: tuple[int, ...] = ()


class ContainerRestartRule(Object):
    action: str = ""
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class AppArmorProfile(Object):
    localhost_profile: str = ""
    type: str = ""


class Capabilities(Object):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SELinuxOptions(Object):
    level: str = ""
    role: str = ""
    type: str = ""
    user: str = ""


class SeccompProfile(Object):
    localhost_profile: str = ""
    type: str = ""


class WindowsSecurityContextOptions(Object):
    gmsa_credential_spec: str = ""
    gmsa_credential_spec_name: str = ""
    host_process: bool = False
    run_as_user_name: str = ""


class SecurityContext(Object):
    allow_privilege_escalation: bool | None = None
    app_armor_profile: AppArmorProfile | None = None
    capabilities: Capabilities | None = None
    privileged: bool | None = None
    proc_mount: str = ""
    read_only_root_filesystem: bool | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    se_linux_options: SELinuxOptions | None = None
    seccomp_profile: SeccompProfile | None = None
    windows_options: WindowsSecurityContextOptions | None = None


class VolumeDevice(Object):
    device_path: str = ""
    name: str = ""


class VolumeMount(Object):
    mount_path: str = ""
    mount_propagation: str = ""
    name: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""


class Container(Object):
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    image: str = ""
    image_pull_policy: str = ""
    lifecycle: Lifecycle | None = None
    liveness_probe: Probe | None = None
    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    resize_policy: tuple[ContainerResizePolicy, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    restart_policy: str = ""
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    security_context: SecurityContext | None = None
    startup_probe: Probe | None = None
    stdin: bool = False
    stdin_once: bool = False
    termination_message_path: str = ""
    termination_message_policy: str = ""
    tty: bool = False
    volume_devices: tuple[VolumeDevice, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    working_dir: str = ""


class EphemeralContainer(Container):
    """A container added to a running Pod, to look into it."""

    target_container_name: str = ""


class ResourceHealth(Object):
    health: str = ""
    message: str = ""
    resource_id: str = ""


class ResourceStatus(Object):
    name: str = ""
    resources: tuple[ResourceHealth, ...] = ()


class ContainerStateRunning(Object):
    started_at: str = ""


class ContainerStateTerminated(Object):
    container_id: str = ""
    exit_code: int = 0
    finished_at: str = ""
    message: str = ""
    reason: str = ""
    signal: int = 0
    started_at: str = ""


class ContainerStateWaiting(Object):
    message: str = ""
    reason: str = ""


class ContainerState(Object):
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None
    waiting: ContainerStateWaiting | None = None


class LinuxContainerUser(Object):
    gid: int = 0
    supplemental_groups: tuple[int, ...] = ()
    uid: int = 0


class ContainerUser(Object):
    linux: LinuxContainerUser | None = None


class ImageVolumeStatus(Object):
    image_ref: str = ""


class VolumeStatus(Object):
    image: ImageVolumeStatus | None = None


class VolumeMountStatus(Object):
    mount_path: str = ""
    name: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    volume_status: VolumeStatus | None = None


class ContainerStatus(Object):
    allocated_resources: dict[str, str] = {}
    allocated_resources_status: tuple[ResourceStatus, ...] = ()
    container_id: str = ""
    image: str = ""
    image_id: str = ""
    last_state: ContainerState = ContainerState()
    name: str = ""
    ready: bool | None = None
    resources: ResourceRequirements | None = None
    restart_count: int = 0
    started: bool | None = None
    state: ContainerState = ContainerState()
    stop_signal: str = ""
    user: ContainerUser | None = None
    volume_mounts: tuple[VolumeMountStatus, ...] = ()

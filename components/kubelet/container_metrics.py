"""What containers, Pods, the node and the machine use: the rows of /metrics/resource and of /metrics/cadvisor.

Computed at scrape time from the processes and cgroups (cadvisor.py); nothing here counts. Rows of /metrics/cadvisor
stand outside the stability framework, as upstream's do. Values come with the time of their measurement.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import NONE, STABLE, Counter, Gauge

CONTAINER_LABELS: Final = ("id", "name", "image", "pod", "namespace", "container")
DEVICE_LABELS: Final = ("id", "name", "image", "pod", "namespace", "container", "device")
INTERFACE_LABELS: Final = ("id", "name", "image", "pod", "namespace", "container", "interface")
MACHINE_LABELS: Final = ("machine_id", "system_uuid", "boot_id")

NODE_CPU_USAGE_SECONDS_TOTAL: Final = Counter(
    "node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds.", stability=STABLE
)
NODE_MEMORY_WORKING_SET_BYTES: Final = Gauge(
    "node_memory_working_set_bytes", "Current working set of the node in bytes.", stability=STABLE
)
NODE_SWAP_USAGE_BYTES: Final = Gauge("node_swap_usage_bytes", "Current swap usage of the node in bytes.")
RESOURCE_CONTAINER_CPU_USAGE_SECONDS_TOTAL: Final = Counter(
    "container_cpu_usage_seconds_total",
    "Cumulative cpu time consumed by the container in core-seconds.",
    ("container", "pod", "namespace"),
    stability=STABLE,
)
RESOURCE_CONTAINER_MEMORY_WORKING_SET_BYTES: Final = Gauge(
    "container_memory_working_set_bytes",
    "Current working set of the container in bytes.",
    ("container", "pod", "namespace"),
    stability=STABLE,
)
RESOURCE_CONTAINER_START_TIME_SECONDS: Final = Gauge(
    "container_start_time_seconds",
    "Start time of the container since unix epoch in seconds.",
    ("container", "pod", "namespace"),
    stability=STABLE,
)
RESOURCE_CONTAINER_SWAP_USAGE_BYTES: Final = Gauge(
    "container_swap_usage_bytes", "Current swap usage of the container in bytes.", ("container", "pod", "namespace")
)
POD_CPU_USAGE_SECONDS_TOTAL: Final = Counter(
    "pod_cpu_usage_seconds_total",
    "Cumulative cpu time consumed by the pod in core-seconds.",
    ("pod", "namespace"),
    stability=STABLE,
)
POD_MEMORY_WORKING_SET_BYTES: Final = Gauge(
    "pod_memory_working_set_bytes", "Current working set of the pod in bytes.", ("pod", "namespace"), stability=STABLE
)
POD_SWAP_USAGE_BYTES: Final = Gauge(
    "pod_swap_usage_bytes", "Current swap usage of the pod in bytes.", ("pod", "namespace")
)
RESOURCE_SCRAPE_ERROR: Final = Gauge(
    "resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise.", stability=STABLE
)
FORMER_RESOURCE_SCRAPE_ERROR: Final = Gauge(
    "scrape_error", "The former name of resource_scrape_error.", deprecated="1.29.0"
)
RESOURCE_ROWS: Final = (
    NODE_CPU_USAGE_SECONDS_TOTAL,
    NODE_MEMORY_WORKING_SET_BYTES,
    NODE_SWAP_USAGE_BYTES,
    RESOURCE_CONTAINER_CPU_USAGE_SECONDS_TOTAL,
    RESOURCE_CONTAINER_MEMORY_WORKING_SET_BYTES,
    RESOURCE_CONTAINER_START_TIME_SECONDS,
    RESOURCE_CONTAINER_SWAP_USAGE_BYTES,
    POD_CPU_USAGE_SECONDS_TOTAL,
    POD_MEMORY_WORKING_SET_BYTES,
    POD_SWAP_USAGE_BYTES,
    RESOURCE_SCRAPE_ERROR,
    FORMER_RESOURCE_SCRAPE_ERROR,
)
"""/metrics/resource."""
CPU_USAGE_SECONDS_TOTAL: Final = Counter(
    "container_cpu_usage_seconds_total",
    "Cumulative cpu time consumed in seconds.",
    ("id", "name", "image", "pod", "namespace", "container", "cpu"),
    stability=NONE,
)
CPU_USER_SECONDS_TOTAL: Final = Counter(
    "container_cpu_user_seconds_total",
    "Cumulative user cpu time consumed in seconds.",
    CONTAINER_LABELS,
    stability=NONE,
)
CPU_SYSTEM_SECONDS_TOTAL: Final = Counter(
    "container_cpu_system_seconds_total",
    "Cumulative system cpu time consumed in seconds.",
    CONTAINER_LABELS,
    stability=NONE,
)
CPU_CFS_PERIODS_TOTAL: Final = Counter(
    "container_cpu_cfs_periods_total", "Elapsed enforcement periods of the cpu quota.", CONTAINER_LABELS, stability=NONE
)
CPU_CFS_THROTTLED_PERIODS_TOTAL: Final = Counter(
    "container_cpu_cfs_throttled_periods_total",
    "Enforcement periods in which the container was throttled.",
    CONTAINER_LABELS,
    stability=NONE,
)
CPU_CFS_THROTTLED_SECONDS_TOTAL: Final = Counter(
    "container_cpu_cfs_throttled_seconds_total",
    "Seconds the container was throttled.",
    CONTAINER_LABELS,
    stability=NONE,
)
CPU_ROWS: Final = (
    CPU_USAGE_SECONDS_TOTAL,
    CPU_USER_SECONDS_TOTAL,
    CPU_SYSTEM_SECONDS_TOTAL,
    CPU_CFS_PERIODS_TOTAL,
    CPU_CFS_THROTTLED_PERIODS_TOTAL,
    CPU_CFS_THROTTLED_SECONDS_TOTAL,
)
"""Processor time."""
MEMORY_USAGE_BYTES: Final = Gauge(
    "container_memory_usage_bytes",
    "Memory charged to the container in bytes, caches included.",
    CONTAINER_LABELS,
    stability=NONE,
)
MEMORY_WORKING_SET_BYTES: Final = Gauge(
    "container_memory_working_set_bytes",
    "Memory in use in bytes, inactive file cache left out.",
    CONTAINER_LABELS,
    stability=NONE,
)
MEMORY_RSS: Final = Gauge("container_memory_rss", "Anonymous memory in bytes.", CONTAINER_LABELS, stability=NONE)
MEMORY_CACHE: Final = Gauge("container_memory_cache", "Page cache in bytes.", CONTAINER_LABELS, stability=NONE)
MEMORY_SWAP: Final = Gauge("container_memory_swap", "Swap usage in bytes.", CONTAINER_LABELS, stability=NONE)
MEMORY_MAPPED_FILE: Final = Gauge(
    "container_memory_mapped_file", "Memory mapped files in bytes.", CONTAINER_LABELS, stability=NONE
)
MEMORY_MAX_USAGE_BYTES: Final = Gauge(
    "container_memory_max_usage_bytes", "Most memory ever charged in bytes.", CONTAINER_LABELS, stability=NONE
)
MEMORY_TOTAL_ACTIVE_FILE_BYTES: Final = Gauge(
    "container_memory_total_active_file_bytes", "Active file cache in bytes.", CONTAINER_LABELS, stability=NONE
)
MEMORY_TOTAL_INACTIVE_FILE_BYTES: Final = Gauge(
    "container_memory_total_inactive_file_bytes", "Inactive file cache in bytes.", CONTAINER_LABELS, stability=NONE
)
MEMORY_FAILCNT: Final = Counter(
    "container_memory_failcnt", "Times the memory limit was hit.", CONTAINER_LABELS, stability=NONE
)
MEMORY_FAILURES_TOTAL: Final = Counter(
    "container_memory_failures_total",
    "Page faults.",
    ("id", "name", "image", "pod", "namespace", "container", "failure_type", "scope"),
    stability=NONE,
)
OOM_EVENTS_TOTAL: Final = Counter(
    "container_oom_events_total", "Out of memory kills.", CONTAINER_LABELS, stability=NONE
)
MEMORY_ROWS: Final = (
    MEMORY_USAGE_BYTES,
    MEMORY_WORKING_SET_BYTES,
    MEMORY_RSS,
    MEMORY_CACHE,
    MEMORY_SWAP,
    MEMORY_MAPPED_FILE,
    MEMORY_MAX_USAGE_BYTES,
    MEMORY_TOTAL_ACTIVE_FILE_BYTES,
    MEMORY_TOTAL_INACTIVE_FILE_BYTES,
    MEMORY_FAILCNT,
    MEMORY_FAILURES_TOTAL,
    OOM_EVENTS_TOTAL,
)
"""Memory."""
FS_READS_TOTAL: Final = Counter("container_fs_reads_total", "Completed reads.", DEVICE_LABELS, stability=NONE)
FS_WRITES_TOTAL: Final = Counter("container_fs_writes_total", "Completed writes.", DEVICE_LABELS, stability=NONE)
FS_READS_BYTES_TOTAL: Final = Counter("container_fs_reads_bytes_total", "Bytes read.", DEVICE_LABELS, stability=NONE)
FS_WRITES_BYTES_TOTAL: Final = Counter(
    "container_fs_writes_bytes_total", "Bytes written.", DEVICE_LABELS, stability=NONE
)
FS_USAGE_BYTES: Final = Gauge(
    "container_fs_usage_bytes", "Bytes consumed on the file system.", DEVICE_LABELS, stability=NONE
)
FS_LIMIT_BYTES: Final = Gauge(
    "container_fs_limit_bytes", "Bytes the file system can hold.", DEVICE_LABELS, stability=NONE
)
FS_INODES_FREE: Final = Gauge(
    "container_fs_inodes_free", "Free inodes of the file system.", DEVICE_LABELS, stability=NONE
)
FS_INODES_TOTAL: Final = Gauge("container_fs_inodes_total", "Inodes of the file system.", DEVICE_LABELS, stability=NONE)
FS_ROWS: Final = (
    FS_READS_TOTAL,
    FS_WRITES_TOTAL,
    FS_READS_BYTES_TOTAL,
    FS_WRITES_BYTES_TOTAL,
    FS_USAGE_BYTES,
    FS_LIMIT_BYTES,
    FS_INODES_FREE,
    FS_INODES_TOTAL,
)
"""Block devices and file systems."""
NETWORK_RECEIVE_BYTES_TOTAL: Final = Counter(
    "container_network_receive_bytes_total", "Bytes received.", INTERFACE_LABELS, stability=NONE
)
NETWORK_RECEIVE_PACKETS_TOTAL: Final = Counter(
    "container_network_receive_packets_total", "Packets received.", INTERFACE_LABELS, stability=NONE
)
NETWORK_RECEIVE_ERRORS_TOTAL: Final = Counter(
    "container_network_receive_errors_total", "Errors while receiving.", INTERFACE_LABELS, stability=NONE
)
NETWORK_RECEIVE_PACKETS_DROPPED_TOTAL: Final = Counter(
    "container_network_receive_packets_dropped_total",
    "Packets dropped while receiving.",
    INTERFACE_LABELS,
    stability=NONE,
)
NETWORK_TRANSMIT_BYTES_TOTAL: Final = Counter(
    "container_network_transmit_bytes_total", "Bytes sent.", INTERFACE_LABELS, stability=NONE
)
NETWORK_TRANSMIT_PACKETS_TOTAL: Final = Counter(
    "container_network_transmit_packets_total", "Packets sent.", INTERFACE_LABELS, stability=NONE
)
NETWORK_TRANSMIT_ERRORS_TOTAL: Final = Counter(
    "container_network_transmit_errors_total", "Errors while sending.", INTERFACE_LABELS, stability=NONE
)
NETWORK_TRANSMIT_PACKETS_DROPPED_TOTAL: Final = Counter(
    "container_network_transmit_packets_dropped_total",
    "Packets dropped while sending.",
    INTERFACE_LABELS,
    stability=NONE,
)
NETWORK_ROWS: Final = (
    NETWORK_RECEIVE_BYTES_TOTAL,
    NETWORK_RECEIVE_PACKETS_TOTAL,
    NETWORK_RECEIVE_ERRORS_TOTAL,
    NETWORK_RECEIVE_PACKETS_DROPPED_TOTAL,
    NETWORK_TRANSMIT_BYTES_TOTAL,
    NETWORK_TRANSMIT_PACKETS_TOTAL,
    NETWORK_TRANSMIT_ERRORS_TOTAL,
    NETWORK_TRANSMIT_PACKETS_DROPPED_TOTAL,
)
"""Interfaces of a Pod."""
PROCESSES: Final = Gauge("container_processes", "Processes.", CONTAINER_LABELS, stability=NONE)
THREADS: Final = Gauge("container_threads", "Threads.", CONTAINER_LABELS, stability=NONE)
SOCKETS: Final = Gauge("container_sockets", "Open sockets.", CONTAINER_LABELS, stability=NONE)
FILE_DESCRIPTORS: Final = Gauge(
    "container_file_descriptors", "Open file descriptors.", CONTAINER_LABELS, stability=NONE
)
START_TIME_SECONDS: Final = Gauge(
    "container_start_time_seconds", "Start time since unix epoch in seconds.", CONTAINER_LABELS, stability=NONE
)
LAST_SEEN: Final = Gauge("container_last_seen", "When the container was last seen.", CONTAINER_LABELS, stability=NONE)
PROCESS_ROWS: Final = (
    PROCESSES,
    THREADS,
    SOCKETS,
    FILE_DESCRIPTORS,
    START_TIME_SECONDS,
    LAST_SEEN,
)
"""Processes and life."""
SPEC_CPU_PERIOD: Final = Gauge(
    "container_spec_cpu_period",
    "Enforcement period of the cpu quota in microseconds.",
    CONTAINER_LABELS,
    stability=NONE,
)
SPEC_CPU_QUOTA: Final = Gauge(
    "container_spec_cpu_quota", "Cpu quota in microseconds per period.", CONTAINER_LABELS, stability=NONE
)
SPEC_CPU_SHARES: Final = Gauge("container_spec_cpu_shares", "Cpu shares.", CONTAINER_LABELS, stability=NONE)
SPEC_MEMORY_LIMIT_BYTES: Final = Gauge(
    "container_spec_memory_limit_bytes", "Memory limit in bytes, 0 without one.", CONTAINER_LABELS, stability=NONE
)
SPEC_ROWS: Final = (
    SPEC_CPU_PERIOD,
    SPEC_CPU_QUOTA,
    SPEC_CPU_SHARES,
    SPEC_MEMORY_LIMIT_BYTES,
)
"""Limits."""
MACHINE_CPU_CORES: Final = Gauge("machine_cpu_cores", "Logical cpu cores.", MACHINE_LABELS, stability=NONE)
MACHINE_CPU_PHYSICAL_CORES: Final = Gauge(
    "machine_cpu_physical_cores", "Physical cpu cores.", MACHINE_LABELS, stability=NONE
)
MACHINE_CPU_SOCKETS: Final = Gauge("machine_cpu_sockets", "Cpu sockets.", MACHINE_LABELS, stability=NONE)
MACHINE_MEMORY_BYTES: Final = Gauge(
    "machine_memory_bytes", "Memory installed in bytes.", MACHINE_LABELS, stability=NONE
)
MACHINE_SWAP_BYTES: Final = Gauge("machine_swap_bytes", "Swap space in bytes.", MACHINE_LABELS, stability=NONE)
MACHINE_SCRAPE_ERROR: Final = Gauge(
    "machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", stability=NONE
)
CADVISOR_VERSION_INFO: Final = Gauge(
    "cadvisor_version_info",
    "Always 1; the labels name the versions of kernel, system and source of the figures.",
    ("kernelVersion", "osVersion", "dockerVersion", "cadvisorVersion", "cadvisorRevision"),
    stability=NONE,
)
SCRAPE_ERROR: Final = Gauge(
    "container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise.", stability=NONE
)
MACHINE_ROWS: Final = (
    MACHINE_CPU_CORES,
    MACHINE_CPU_PHYSICAL_CORES,
    MACHINE_CPU_SOCKETS,
    MACHINE_MEMORY_BYTES,
    MACHINE_SWAP_BYTES,
    MACHINE_SCRAPE_ERROR,
    CADVISOR_VERSION_INFO,
    SCRAPE_ERROR,
)
"""The machine, and how the scrape went."""

"""The Pod network as far as it can be measured: sandboxes, addresses, and the machine's traffic."""

from ..panels import Board, Panel, Section, q, quantile, rate

BOARD = Board(
    "kubeglass-network",
    "Pod network",
    "Sandboxes and addresses. On the loopback network Pods share the machine's interfaces, so traffic is shown per node.",
    (
        Section(
            "Sandboxes",
            (
                Panel(
                    "Network set-up",
                    "99th percentile of making a sandbox, the CNI's ADD included.",
                    "s",
                    q(quantile(0.99, "kubelet_run_podsandbox_duration_seconds", "node"), "{{node}}"),
                    conditional="a Pod starts",
                ),
                Panel(
                    "Failures",
                    "Sandboxes that could not be made.",
                    "ops",
                    q(rate("kubelet_run_podsandbox_errors_total", "node"), "{{node}}"),
                    conditional="a sandbox fails",
                    runbook="docs/runbooks/nodes.md#runtimeerrors",
                ),
                Panel(
                    "Addresses",
                    "Pods with an address of their own, by node.",
                    "none",
                    q('count by (node) (kube_pod_info{host_network="false", pod_ip!=""})', "{{node}}"),
                    stacked=True,
                    conditional="a Pod has an address",
                ),
            ),
        ),
        Section(
            "Traffic",
            (
                Panel(
                    "Received",
                    "Bytes received, by the interfaces that cAdvisor sees.",
                    "Bps",
                    q(
                        "sum by (node, interface) (rate(container_network_receive_bytes_total[$__rate_interval]))",
                        "{{node}} {{interface}}",
                    ),
                ),
                Panel(
                    "Sent",
                    "Bytes sent.",
                    "Bps",
                    q(
                        "sum by (node, interface) (rate(container_network_transmit_bytes_total[$__rate_interval]))",
                        "{{node}} {{interface}}",
                    ),
                ),
                Panel(
                    "Dropped",
                    "Packets dropped.",
                    "pps",
                    (
                        q(
                            "sum by (node) (rate(container_network_receive_packets_dropped_total[$__rate_interval]))",
                            "{{node}} in",
                        )[0],
                        q(
                            "sum by (node) (rate(container_network_transmit_packets_dropped_total[$__rate_interval]))",
                            "{{node}} out",
                        )[0],
                    ),
                ),
            ),
        ),
    ),
)

"""API Priority and Fairness: seats, lending, queues, waits, rejections, and who is behind them."""

from ..panels import Board, Panel, Query, Section, Variable, q, quantile, rate, total

LEVEL = 'job="apiserver", priority_level=~"$level"'

BOARD = Board(
    "kubeglass-flowcontrol",
    "API Priority and Fairness",
    "Who gets to be served when not everybody can: from seats to queues to rejections to the culprit.",
    (
        Section(
            "Seats",
            (
                Panel(
                    "Seats in use",
                    "Seats that executing requests hold, by priority level.",
                    "none",
                    q(
                        total("apiserver_flowcontrol_current_executing_seats", "priority_level", LEVEL),
                        "{{priority_level}}",
                    ),
                    stacked=True,
                ),
                Panel(
                    "Utilization",
                    "Seats in use of those the level may use now. At 100 % requests queue.",
                    "percentunit",
                    q(
                        'priority_level:apiserver_flowcontrol_seats:utilization{priority_level=~"$level"}',
                        "{{priority_level}}",
                    ),
                    runbook="docs/runbooks/apiserver.md#requestsqueued",
                ),
                Panel(
                    "Utilization, lately",
                    "99th percentile of the seat utilization, sampled at every change.",
                    "percentunit",
                    q(
                        quantile(
                            0.99, "apiserver_flowcontrol_priority_level_seat_utilization", "priority_level", LEVEL
                        ),
                        "{{priority_level}}",
                    ),
                ),
                Panel(
                    "Limits",
                    "Seats each level may use now, after lending and borrowing.",
                    "none",
                    q(
                        total("apiserver_flowcontrol_current_limit_seats", "priority_level", LEVEL),
                        "{{priority_level}}",
                    ),
                ),
                Panel(
                    "Borrowed and lent",
                    "Current limit minus nominal limit: above zero a level borrows, below it lends.",
                    "none",
                    q(
                        f"{total('apiserver_flowcontrol_current_limit_seats', 'priority_level', LEVEL)} - {total('apiserver_flowcontrol_nominal_limit_seats', 'priority_level', LEVEL)}",
                        "{{priority_level}}",
                    ),
                ),
                Panel(
                    "Room to borrow",
                    "Highest limit a level may reach, and the lowest it can be lent down to.",
                    "none",
                    (
                        Query(
                            total("apiserver_flowcontrol_upper_limit_seats", "priority_level", LEVEL),
                            "{{priority_level}} most",
                        ),
                        Query(
                            total("apiserver_flowcontrol_lower_limit_seats", "priority_level", LEVEL),
                            "{{priority_level}} least",
                        ),
                    ),
                ),
            ),
        ),
        Section(
            "Demand",
            (
                Panel(
                    "Demand",
                    "Seats wanted, averaged over the last adjustment period.",
                    "none",
                    q(
                        total("apiserver_flowcontrol_demand_seats_average", "priority_level", LEVEL),
                        "{{priority_level}}",
                    ),
                ),
                Panel(
                    "Peak demand",
                    "Highest demand of the last adjustment period.",
                    "none",
                    q(
                        total("apiserver_flowcontrol_demand_seats_high_watermark", "priority_level", LEVEL),
                        "{{priority_level}}",
                    ),
                ),
                Panel(
                    "Target",
                    "What each level was given as a goal when seats were last shared out.",
                    "none",
                    q(total("apiserver_flowcontrol_target_seats", "priority_level", LEVEL), "{{priority_level}}"),
                ),
            ),
        ),
        Section(
            "Queues",
            (
                Panel(
                    "Waiting",
                    "Requests that wait for a seat.",
                    "none",
                    q(
                        total("apiserver_flowcontrol_current_inqueue_requests", "priority_level, flow_schema", LEVEL),
                        "{{priority_level}} {{flow_schema}}",
                    ),
                    stacked=True,
                    runbook="docs/runbooks/apiserver.md#requestsqueued",
                ),
                Panel(
                    "Wait",
                    "99th percentile of the time in the queue.",
                    "s",
                    q(
                        quantile(
                            0.99,
                            "apiserver_flowcontrol_request_wait_duration_seconds",
                            "priority_level, execute",
                            LEVEL,
                        ),
                        "{{priority_level}} executed={{execute}}",
                    ),
                ),
                Panel(
                    "Queue length",
                    "99th percentile of the length a request finds, itself included.",
                    "none",
                    q(
                        quantile(
                            0.99, "apiserver_flowcontrol_request_queue_length_after_enqueue", "priority_level", LEVEL
                        ),
                        "{{priority_level}}",
                    ),
                ),
                Panel(
                    "Execution",
                    "99th percentile of the time requests hold their seats.",
                    "s",
                    q(
                        quantile(
                            0.99, "apiserver_flowcontrol_request_execution_seconds", "priority_level, type", LEVEL
                        ),
                        "{{priority_level}} {{type}}",
                    ),
                ),
                Panel(
                    "Dispatched",
                    "Requests that got a seat.",
                    "reqps",
                    q(rate("apiserver_flowcontrol_dispatched_requests_total", "flow_schema", LEVEL), "{{flow_schema}}"),
                    stacked=True,
                ),
                Panel(
                    "Rejected",
                    "Requests answered 429, by reason.",
                    "reqps",
                    q(
                        rate(
                            "apiserver_flowcontrol_rejected_requests_total",
                            "priority_level, flow_schema, reason",
                            LEVEL,
                        ),
                        "{{flow_schema}} {{reason}}",
                    ),
                    conditional="a request is rejected",
                    runbook="docs/runbooks/apiserver.md#requestsrejected",
                ),
            ),
        ),
        Section(
            "Width",
            (
                Panel(
                    "Estimated seats",
                    "99th percentile of the seats a request is thought to need; large lists need more.",
                    "none",
                    q(
                        quantile(0.99, "apiserver_flowcontrol_work_estimated_seats", "priority_level", LEVEL),
                        "{{priority_level}}",
                    ),
                ),
                Panel(
                    "Watches behind a write",
                    "99th percentile of the watches that a write must notify.",
                    "none",
                    q(
                        quantile(0.99, "apiserver_flowcontrol_watch_count_samples", "priority_level", LEVEL),
                        "{{priority_level}}",
                    ),
                    conditional="something is written",
                ),
                Panel(
                    "No accommodation",
                    "Times the head of a queue found too few free seats.",
                    "ops",
                    q(
                        rate("apiserver_flowcontrol_request_dispatch_no_accommodation_total", "priority_level", LEVEL),
                        "{{priority_level}}",
                    ),
                    conditional="a request finds too few seats",
                ),
            ),
        ),
        Section(
            "Talkers",
            (
                Panel(
                    "Requests",
                    "The users behind the traffic, over the talkers' window.",
                    "none",
                    q(
                        'topk(10, sum by (user, flow_schema) (kubeglass_flowcontrol_talker_requests{priority_level=~"$level"}))',
                        "{{user}} {{flow_schema}}",
                    ),
                    "table",
                    width=12,
                    conditional="a request passes a limited priority level",
                ),
                Panel(
                    "Seat-seconds",
                    "Whose requests hold the most seats for the longest.",
                    "s",
                    q(
                        'topk(10, sum by (user) (kubeglass_flowcontrol_talker_seat_seconds{priority_level=~"$level"}))',
                        "{{user}}",
                    ),
                    conditional="a request passes a limited priority level",
                    width=12,
                ),
                Panel(
                    "Rejections",
                    "Who is rejected.",
                    "none",
                    q(
                        'topk(10, sum by (user) (kubeglass_flowcontrol_talker_rejections{priority_level=~"$level"}))',
                        "{{user}}",
                    ),
                    conditional="a request passes a limited priority level",
                    width=12,
                    runbook="docs/runbooks/apiserver.md#requestsrejected",
                ),
                Panel(
                    "Waits",
                    "Who waits, in seconds over the window.",
                    "s",
                    q(
                        'topk(10, sum by (user) (kubeglass_flowcontrol_talker_wait_seconds{priority_level=~"$level"}))',
                        "{{user}}",
                    ),
                    conditional="a request passes a limited priority level",
                    width=12,
                ),
            ),
        ),
    ),
    (Variable("level", "apiserver_flowcontrol_nominal_limit_seats", "priority_level"),),
)

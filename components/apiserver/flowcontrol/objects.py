"""FlowSchema and PriorityLevelConfiguration (flowcontrol.apiserver.k8s.io/v1) as frozen views.

The defaults of the fields are the defaults of the API, so a manifest and a stored object decode alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

GROUP = "flowcontrol.apiserver.k8s.io"
AUTO_UPDATE_ANNOTATION = "apf.kubernetes.io/autoupdate-spec"

EXEMPT = "exempt"
CATCH_ALL = "catch-all"


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the views: immutable, camelCase on the wire, unknown fields ignored."""


class Metadata(View, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    annotations: dict[str, str] = {}


class UserSubject(View, frozen=True, kw_only=True):
    name: str = ""


class GroupSubject(View, frozen=True, kw_only=True):
    name: str = ""


class ServiceAccountSubject(View, frozen=True, kw_only=True):
    namespace: str = ""
    name: str = ""


class Subject(View, frozen=True, kw_only=True):
    kind: str = ""
    user: UserSubject | None = None
    group: GroupSubject | None = None
    service_account: ServiceAccountSubject | None = None


class ResourceRule(View, frozen=True, kw_only=True):
    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    cluster_scope: bool = False
    namespaces: tuple[str, ...] = ()


class NonResourceRule(View, frozen=True, kw_only=True):
    verbs: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(name="nonResourceURLs", default=())


class Rule(View, frozen=True, kw_only=True):
    """PolicyRulesWithSubjects: any subject, and any resource or non-resource rule."""

    subjects: tuple[Subject, ...] = ()
    resource_rules: tuple[ResourceRule, ...] = ()
    non_resource_rules: tuple[NonResourceRule, ...] = ()


class LevelReference(View, frozen=True, kw_only=True):
    name: str = ""


class DistinguisherMethod(View, frozen=True, kw_only=True):
    type: str = ""


class FlowSchemaSpec(View, frozen=True, kw_only=True):
    priority_level_configuration: LevelReference = LevelReference()
    matching_precedence: int = 1000
    distinguisher_method: DistinguisherMethod | None = None
    rules: tuple[Rule, ...] = ()


class Condition(View, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class Status(View, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()


class FlowSchema(View, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: FlowSchemaSpec = FlowSchemaSpec()
    status: Status = Status()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def level(self) -> str:
        """The name of the priority level that this schema sends its requests to."""
        return self.spec.priority_level_configuration.name


class Queuing(View, frozen=True, kw_only=True):
    queues: int = 64
    hand_size: int = 8
    queue_length_limit: int = 50


class LimitResponse(View, frozen=True, kw_only=True):
    type: str = ""
    queuing: Queuing | None = None


class Limited(View, frozen=True, kw_only=True):
    nominal_concurrency_shares: int | None = None
    lendable_percent: int | None = None
    borrowing_limit_percent: int | None = None
    limit_response: LimitResponse = LimitResponse()


class Exempt(View, frozen=True, kw_only=True):
    nominal_concurrency_shares: int | None = None
    lendable_percent: int | None = None


class PriorityLevelSpec(View, frozen=True, kw_only=True):
    type: str = ""
    limited: Limited | None = None
    exempt: Exempt | None = None


class PriorityLevel(View, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: PriorityLevelSpec = PriorityLevelSpec()
    status: Status = Status()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def is_exempt(self) -> bool:
        return self.spec.type == "Exempt"

    @property
    def queuing(self) -> Queuing | None:
        """How the level queues; None for a level that rejects or is exempt."""
        limited = self.spec.limited
        if limited is None or limited.limit_response.type != "Queue":
            return None
        return limited.limit_response.queuing or Queuing()

    @property
    def shares(self) -> int:
        block = self.spec.exempt if self.is_exempt else self.spec.limited
        absent = 0 if self.is_exempt else 30
        return absent if block is None or block.nominal_concurrency_shares is None else block.nominal_concurrency_shares

    @property
    def lendable_percent(self) -> int:
        block = self.spec.exempt if self.is_exempt else self.spec.limited
        return 0 if block is None or block.lendable_percent is None else block.lendable_percent

    @property
    def borrowing_limit_percent(self) -> int | None:
        """None: as much as the whole server has."""
        return None if self.is_exempt or self.spec.limited is None else self.spec.limited.borrowing_limit_percent


def flow_schema(obj: Mapping[str, Any]) -> FlowSchema:
    """The view of a decoded FlowSchema. Raises msgspec.ValidationError when a field has the wrong type."""
    return msgspec.convert(obj, FlowSchema)


def priority_level(obj: Mapping[str, Any]) -> PriorityLevel:
    """The view of a decoded PriorityLevelConfiguration. Raises msgspec.ValidationError."""
    return msgspec.convert(obj, PriorityLevel)

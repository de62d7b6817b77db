"""FlowSchema and PriorityLevelConfiguration (flowcontrol.apiserver.k8s.io/v1) as frozen views.

The defaults of the fields are the defaults of the API, so a manifest and a stored object decode alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.struct import Object, decode

AUTO_UPDATE_ANNOTATION = "apf.kubernetes.io/autoupdate-spec"

EXEMPT = "exempt"
CATCH_ALL = "catch-all"


class UserSubject(Object):
    name: str = ""


class GroupSubject(Object):
    name: str = ""


class ServiceAccountSubject(Object):
    namespace: str = ""
    name: str = ""


class Subject(Object):
    kind: str = ""
    user: UserSubject | None = None
    group: GroupSubject | None = None
    service_account: ServiceAccountSubject | None = None


class ResourceRule(Object):
    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    cluster_scope: bool = False
    namespaces: tuple[str, ...] = ()


class NonResourceRule(Object):
    verbs: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()


class Rule(Object):
    """PolicyRulesWithSubjects: any subject, and any resource or non-resource rule."""

    subjects: tuple[Subject, ...] = ()
    resource_rules: tuple[ResourceRule, ...] = ()
    non_resource_rules: tuple[NonResourceRule, ...] = ()


class LevelReference(Object):
    name: str = ""


class DistinguisherMethod(Object):
    type: str = ""


class FlowSchemaSpec(Object):
    priority_level_configuration: LevelReference = LevelReference()
    matching_precedence: int = 1000
    distinguisher_method: DistinguisherMethod | None = None
    rules: tuple[Rule, ...] = ()


class Condition(Object):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class Status(Object):
    conditions: tuple[Condition, ...] = ()


class FlowSchema(Resource):
    spec: FlowSchemaSpec = FlowSchemaSpec()
    status: Status = Status()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def level(self) -> str:
        """The name of the priority level that this schema sends its requests to."""
        return self.spec.priority_level_configuration.name


class Queuing(Object):
    queues: int = 64
    hand_size: int = 8
    queue_length_limit: int = 50


class LimitResponse(Object):
    type: str = ""
    queuing: Queuing | None = None


class Limited(Object):
    nominal_concurrency_shares: int | None = None
    lendable_percent: int | None = None
    borrowing_limit_percent: int | None = None
    limit_response: LimitResponse = LimitResponse()


class Exempt(Object):
    nominal_concurrency_shares: int | None = None
    lendable_percent: int | None = None


class PriorityLevelSpec(Object):
    type: str = ""
    limited: Limited | None = None
    exempt: Exempt | None = None


class PriorityLevel(Resource):
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
    return decode(FlowSchema, obj)


def priority_level(obj: Mapping[str, Any]) -> PriorityLevel:
    """The view of a decoded PriorityLevelConfiguration. Raises msgspec.ValidationError."""
    return decode(PriorityLevel, obj)

"""Read-only views: FlowSchemas and priority levels (flowcontrol.apiserver.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.struct import Object


class FlowDistinguisherMethod(Object):
    type: str = ""


class PriorityLevelConfigurationReference(Object):
    name: str = ""


class NonResourcePolicyRule(Object):
    non_resource_urls: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


class ResourcePolicyRule(Object):
    api_groups: tuple[str, ...] = ()
    cluster_scope: bool = False
    namespaces: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


class GroupSubject(Object):
    name: str = ""


class ServiceAccountSubject(Object):
    name: str = ""
    namespace: str = ""


class UserSubject(Object):
    name: str = ""


class Subject(Object):
    group: GroupSubject | None = None
    kind: str = ""
    service_account: ServiceAccountSubject | None = None
    user: UserSubject | None = None


class PolicyRulesWithSubjects(Object):
    non_resource_rules: tuple[NonResourcePolicyRule, ...] = ()
    resource_rules: tuple[ResourcePolicyRule, ...] = ()
    subjects: tuple[Subject, ...] = ()


class FlowSchemaSpec(Object):
    distinguisher_method: FlowDistinguisherMethod | None = None
    matching_precedence: int = 1000
    priority_level_configuration: PriorityLevelConfigurationReference = PriorityLevelConfigurationReference()
    rules: tuple[PolicyRulesWithSubjects, ...] = ()


class FlowSchemaCondition(Object):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class FlowSchemaStatus(Object):
    conditions: tuple[FlowSchemaCondition, ...] = ()


class FlowSchema(Resource):
    spec: FlowSchemaSpec = FlowSchemaSpec()
    status: FlowSchemaStatus = FlowSchemaStatus()


class ExemptPriorityLevelConfiguration(Object):
    lendable_percent: int = 0
    nominal_concurrency_shares: int = 0


class QueuingConfiguration(Object):
    hand_size: int = 8
    queue_length_limit: int = 50
    queues: int = 64


class LimitResponse(Object):
    queuing: QueuingConfiguration | None = None
    type: str = ""


class LimitedPriorityLevelConfiguration(Object):
    borrowing_limit_percent: int | None = None
    lendable_percent: int = 0
    limit_response: LimitResponse | None = None
    nominal_concurrency_shares: int = 30


class PriorityLevelConfigurationSpec(Object):
    exempt: ExemptPriorityLevelConfiguration | None = None
    limited: LimitedPriorityLevelConfiguration | None = None
    type: str = ""


class PriorityLevelConfigurationCondition(Object):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class PriorityLevelConfigurationStatus(Object):
    conditions: tuple[PriorityLevelConfigurationCondition, ...] = ()


class PriorityLevelConfiguration(Resource):
    spec: PriorityLevelConfigurationSpec = PriorityLevelConfigurationSpec()
    status: PriorityLevelConfigurationStatus = PriorityLevelConfigurationStatus()

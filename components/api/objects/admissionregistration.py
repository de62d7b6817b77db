"""Read-only views: webhook registrations (admissionregistration.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import LabelSelector, Resource
from kubeglass.components.api.objects.struct import Object


class ServiceReference(Object):
    name: str = ""
    namespace: str = ""
    path: str = ""
    port: int = 0


class WebhookClientConfig(Object):
    ca_bundle: str = ""
    service: ServiceReference | None = None
    url: str = ""


class MatchCondition(Object):
    expression: str = ""
    name: str = ""


class RuleWithOperations(Object):
    api_groups: tuple[str, ...] = ()
    api_versions: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    scope: str = ""


class MutatingWebhook(Object):
    admission_review_versions: tuple[str, ...] = ()
    client_config: WebhookClientConfig = WebhookClientConfig()
    failure_policy: str = ""
    match_conditions: tuple[MatchCondition, ...] = ()
    match_policy: str = ""
    name: str = ""
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    reinvocation_policy: str = ""
    rules: tuple[RuleWithOperations, ...] = ()
    side_effects: str = ""
    timeout_seconds: int = 10


class MutatingWebhookConfiguration(Resource):
    webhooks: tuple[MutatingWebhook, ...] = ()


class ValidatingWebhook(Object):
    admission_review_versions: tuple[str, ...] = ()
    client_config: WebhookClientConfig = WebhookClientConfig()
    failure_policy: str = ""
    match_conditions: tuple[MatchCondition, ...] = ()
    match_policy: str = ""
    name: str = ""
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    rules: tuple[RuleWithOperations, ...] = ()
    side_effects: str = ""
    timeout_seconds: int = 10


class ValidatingWebhookConfiguration(Resource):
    webhooks: tuple[ValidatingWebhook, ...] = ()

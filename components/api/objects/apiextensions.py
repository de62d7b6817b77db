"""Read-only views: custom resource definitions (apiextensions.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.objects.meta import Resource
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


class WebhookConversion(Object):
    client_config: WebhookClientConfig | None = None
    conversion_review_versions: tuple[str, ...] = ()


class CustomResourceConversion(Object):
    strategy: str = ""
    webhook: WebhookConversion | None = None


class CustomResourceDefinitionNames(Object):
    categories: tuple[str, ...] = ()
    kind: str = ""
    list_kind: str = ""
    plural: str = ""
    short_names: tuple[str, ...] = ()
    singular: str = ""


class CustomResourceColumnDefinition(Object):
    description: str = ""
    format: str = ""
    json_path: str = ""
    name: str = ""
    priority: int | None = None
    type: str = ""


class CustomResourceValidation(Object):
    open_apiv3_schema: Any = None


class SelectableField(Object):
    json_path: str = ""


class CustomResourceSubresourceScale(Object):
    label_selector_path: str = ""
    spec_replicas_path: str = ""
    status_replicas_path: str = ""


class CustomResourceSubresources(Object):
    scale: CustomResourceSubresourceScale | None = None
    status: Any = None


class CustomResourceDefinitionVersion(Object):
    additional_printer_columns: tuple[CustomResourceColumnDefinition, ...] = ()
    deprecated: bool = False
    deprecation_warning: str = ""
    name: str = ""
    schema: CustomResourceValidation | None = None
    selectable_fields: tuple[SelectableField, ...] = ()
    served: bool = False
    storage: bool = False
    subresources: CustomResourceSubresources | None = None


class CustomResourceDefinitionSpec(Object):
    conversion: CustomResourceConversion | None = None
    group: str = ""
    names: CustomResourceDefinitionNames = CustomResourceDefinitionNames()
    preserve_unknown_fields: bool = False
    scope: str = ""
    versions: tuple[CustomResourceDefinitionVersion, ...] = ()


class CustomResourceDefinitionCondition(Object):
    last_transition_time: str = ""
    message: str = ""
    observed_generation: int = 0
    reason: str = ""
    status: str = ""
    type: str = ""


class CustomResourceDefinitionStatus(Object):
    accepted_names: CustomResourceDefinitionNames | None = None
    conditions: tuple[CustomResourceDefinitionCondition, ...] = ()
    observed_generation: int = 0
    stored_versions: tuple[str, ...] = ()


class CustomResourceDefinition(Resource):
    spec: CustomResourceDefinitionSpec = CustomResourceDefinitionSpec()
    status: CustomResourceDefinitionStatus = CustomResourceDefinitionStatus()

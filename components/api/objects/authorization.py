"""Read-only views: access reviews (authorization.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import LabelSelectorRequirement, Resource
from kubeglass.components.api.objects.struct import Object


class NonResourceAttributes(Object):
    path: str = ""
    verb: str = ""


class FieldSelectorRequirement(Object):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class FieldSelectorAttributes(Object):
    raw_selector: str = ""
    requirements: tuple[FieldSelectorRequirement, ...] = ()


class LabelSelectorAttributes(Object):
    raw_selector: str = ""
    requirements: tuple[LabelSelectorRequirement, ...] = ()


class ResourceAttributes(Object):
    field_selector: FieldSelectorAttributes | None = None
    group: str = ""
    label_selector: LabelSelectorAttributes | None = None
    name: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    verb: str = ""
    version: str = ""


class SubjectAccessReviewSpec(Object):
    extra: dict[str, tuple[str, ...]] = {}
    groups: tuple[str, ...] = ()
    non_resource_attributes: NonResourceAttributes | None = None
    resource_attributes: ResourceAttributes | None = None
    uid: str = ""
    user: str = ""


class SubjectAccessReviewStatus(Object):
    allowed: bool = False
    denied: bool = False
    evaluation_error: str = ""
    reason: str = ""


class SubjectAccessReview(Resource):
    spec: SubjectAccessReviewSpec = SubjectAccessReviewSpec()
    status: SubjectAccessReviewStatus = SubjectAccessReviewStatus()


class SelfSubjectAccessReviewSpec(Object):
    non_resource_attributes: NonResourceAttributes | None = None
    resource_attributes: ResourceAttributes | None = None


class SelfSubjectAccessReview(Resource):
    spec: SelfSubjectAccessReviewSpec = SelfSubjectAccessReviewSpec()
    status: SubjectAccessReviewStatus = SubjectAccessReviewStatus()

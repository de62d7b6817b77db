"""Questions that are asked with a POST and stored nowhere: who is this token, may this user do that.

TokenReview, SelfSubjectReview, SubjectAccessReview and its Local and Self variants, SelfSubjectRulesReview.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.errors import BadRequest, Cause, invalid
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.auth.authenticators import AuthenticationFailed, BearerTokens, in_standard_group
from kubeglass.components.apiserver.auth.authorizers import Attributes, Authorization
from kubeglass.components.apiserver.auth.rbac import Rbac, Rule
from kubeglass.components.apiserver.handlers import bodies
from kubeglass.components.apiserver.handlers.write import write_context
from kubeglass.components.apiserver.registry import receiving
from kubeglass.components.apiserver.wire import Request, Response, json_response
from kubeglass.components.machinery import clock

Object = dict[str, Any]
_Answer = Callable[[Request, Object], Awaitable[Object]]


class Reviews:
    """The create-only kinds of authentication.k8s.io and authorization.k8s.io."""

    def __init__(
        self, tokens: BearerTokens, authorization: Authorization, rbac: Rbac, audiences: tuple[str, ...]
    ) -> None:
        self._tokens = tokens
        self._authorization = authorization
        self._rbac = rbac
        self._audiences = audiences
        self._answers: Mapping[Kind, _Answer] = {
            kinds.TOKEN_REVIEW: self._token,
            kinds.SELF_SUBJECT_REVIEW: self._self,
            kinds.SUBJECT_ACCESS_REVIEW: self._access,
            kinds.LOCAL_SUBJECT_ACCESS_REVIEW: self._local_access,
            kinds.SELF_SUBJECT_ACCESS_REVIEW: self._self_access,
            kinds.SELF_SUBJECT_RULES_REVIEW: self._rules,
        }

    def answers(self, kind: Kind) -> bool:
        return kind in self._answers

    async def create(self, request: Request, kind: Kind) -> Response:
        """The review with its status filled in."""
        context = write_context(request, "CreateOptions")
        obj = await bodies.received(request, kind.kind, context)
        receiving.check_kind(obj, kind.api_version, kind.kind)
        metadata = {"creationTimestamp": None, **(obj.get("metadata") or {})}
        review = {
            "kind": kind.kind,
            "apiVersion": kind.api_version,
            "metadata": metadata,
            "spec": obj.get("spec") or {},
        }
        review["status"] = await self._answers[kind](request, review)
        if kind == kinds.SELF_SUBJECT_REVIEW:
            del review["spec"]
        return json_response(review, 201)

    async def _token(self, request: Request, review: Object) -> Object:
        token = review["spec"].get("token", "")
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        asked = tuple(review["spec"].get("audiences") or ())
        try:
            answer = self._tokens.review(token, asked)
        except AuthenticationFailed as error:
            return {"user": {}, "error": str(error)}
        if answer is None:
            return {"user": {}, "error": "invalid bearer token"}
        user, audiences = answer
        status: Object = {"authenticated": True, "user": in_standard_group(user).to_json()}
        if asked or audiences:
            status["audiences"] = list(audiences or asked)
        return status

    async def _self(self, request: Request, review: Object) -> Object:
        review["metadata"]["creationTimestamp"] = clock.now_rfc3339()
        return {"userInfo": request.user.to_json()}

    async def _access(self, request: Request, review: Object) -> Object:
        return self._decision(_user_of(review["spec"], "SubjectAccessReview"), review["spec"])

    async def _local_access(self, request: Request, review: Object) -> Object:
        spec = review["spec"]
        asked = (spec.get("resourceAttributes") or {}).get("namespace", "")
        if asked != request.info.namespace:
            text = f"spec.resourceAttributes.namespace must match namespace: {request.info.namespace}"
            raise BadRequest(text)
        return self._decision(_user_of(spec, "LocalSubjectAccessReview"), spec)

    async def _self_access(self, request: Request, review: Object) -> Object:
        return self._decision(request.user, review["spec"])

    async def _rules(self, request: Request, review: Object) -> Object:
        namespace = review["spec"].get("namespace", "")
        if not namespace:
            raise BadRequest("no namespace on request")
        rules, problems = self._rbac.rules_for(request.user, namespace)
        status: Object = {
            "resourceRules": [_resource_rule(rule) for rule in rules if rule.resources],
            "nonResourceRules": [
                {"verbs": sorted(rule.verbs), "nonResourceURLs": list(rule.urls)} for rule in rules if rule.urls
            ],
            "incomplete": bool(problems),
        }
        if problems:
            status["evaluationError"] = ", ".join(dict.fromkeys(problems))
        return status

    def _decision(self, user: UserInfo, spec: Mapping[str, Any]) -> Object:
        verdict = self._authorization.authorize(_attributes(user, spec))
        status: Object = {"allowed": verdict.allowed}
        if verdict.denied:
            status["denied"] = True
        if verdict.reason:
            status["reason"] = verdict.reason
        return status


def _attributes(user: UserInfo, spec: Mapping[str, Any]) -> Attributes:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if bool(resource) == bool(other):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = Cause("FieldValueInvalid", f"Invalid value: null: {text}", "spec.resourceAttributes")
        raise invalid("SubjectAccessReview", "authorization.k8s.io", "", [cause])
    if other:
        return Attributes(user, other.get("verb", ""), other.get("path", ""), is_resource=False)
    assert resource is not None
    return Attributes(
        user=user,
        verb=resource.get("verb", ""),
        group=resource.get("group", ""),
        version=resource.get("version", ""),
        resource=resource.get("resource", ""),
        subresource=resource.get("subresource", ""),
        namespace=resource.get("namespace", ""),
        name=resource.get("name", ""),
    )


def _user_of(spec: Mapping[str, Any], kind: str) -> UserInfo:
    name, groups = spec.get("user", ""), tuple(spec.get("groups") or ())
    if not name and not groups:
        text = 'Invalid value: "": at least one of user or group must be specified'
        raise invalid(kind, "authorization.k8s.io", "", [Cause("FieldValueInvalid", text, "spec.user")])
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return UserInfo(name, spec.get("uid", ""), groups, extra)


def _resource_rule(rule: Rule) -> Object:
    shown: Object = {
        "verbs": sorted(rule.verbs),
        "apiGroups": sorted(rule.groups),
        "resources": sorted(rule.resources),
    }
    if rule.names:
        shown["resourceNames"] = sorted(rule.names)
    return shown

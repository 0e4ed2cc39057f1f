"""What SubjectAccessReviews and their like are answered.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from common.api import errors
from common.api.errors import FieldError
from common.api.resource import Resource
from common.api.types.authentication_v1 import SelfSubjectReviewStatus
from common.api.types.authorization_v1 import (
    LocalSubjectAccessReview,
    NonResourceAttributes,
    NonResourceRule,
    ResourceAttributes,
    ResourceRule,
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
    SubjectAccessReview,
    SubjectAccessReviewSpec,
    SubjectAccessReviewStatus,
    SubjectRulesReviewStatus,
)
from common.api.wellknown import MASTERS
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.authorizers.node import node_name
from master.apiserver.registry.computed import Review
from master.apiserver.resources.authentication.tokenreview import user_info

ANY = "*"
ALL_RESOURCES = ResourceRule(verbs=(ANY,), apiGroups=(ANY,), resources=(ANY,))
ALL_URLS = NonResourceRule(verbs=(ANY,), nonResourceURLs=(ANY,))


def reviews(authorizer: Authorizer) -> Mapping[str, Review]:
    """All of them, by group resource."""
    return {
        "subjectaccessreviews.authorization.k8s.io": AccessReview(authorizer),
        "localsubjectaccessreviews.authorization.k8s.io": AccessReview(authorizer),
        "selfsubjectaccessreviews.authorization.k8s.io": SelfAccessReview(authorizer),
        "selfsubjectrulesreviews.authorization.k8s.io": SelfRulesReview(authorizer),
        "selfsubjectreviews.authentication.k8s.io": WhoAmI(),
    }


class AccessReview:
    """May somebody do something? Everywhere, or in the namespace of the URL."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def answer(
        self,
        user: Identity,
        resource: Resource,
        namespace: str,
        obj: SubjectAccessReview | LocalSubjectAccessReview,
    ) -> None:
        """Decide as if the one who is named asked."""
        findings = [*_attribute_problems(obj.spec)]
        if not obj.spec.user and not obj.spec.groups:
            findings.append(
                errors.invalid("spec.user", "", "at least one of user or group must be specified")
            )
        if resource.namespaced:
            findings += _namespace_problems(obj.spec, namespace)
        _refuse(resource, findings)
        asked = Identity(obj.spec.user, obj.spec.groups)
        obj.status = _decided(self._authorizer, asked, wanted(obj.spec))


class SelfAccessReview:
    """May the caller do something?"""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def answer(
        self, user: Identity, resource: Resource, namespace: str, obj: SelfSubjectAccessReview
    ) -> None:
        """Decide as if the caller asked."""
        _refuse(resource, [*_attribute_problems(obj.spec)])
        obj.status = _decided(self._authorizer, user, wanted(obj.spec))


class SelfRulesReview:
    """All that the caller may do in a namespace, as far as rules tell."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def answer(
        self, user: Identity, resource: Resource, namespace: str, obj: SelfSubjectRulesReview
    ) -> None:
        """The rules of the caller's roles; an administrator, who needs none, has all once."""
        if not obj.spec.namespace:
            raise errors.bad_request("no namespace on request")
        rules = list(self._authorizer.policy.rules_for(user, obj.spec.namespace))
        resources = [
            ResourceRule(
                verbs=rule.verbs,
                apiGroups=rule.apiGroups,
                resources=rule.resources,
                resourceNames=rule.resourceNames,
            )
            for rule in rules
            if rule.resources
        ]
        urls = [
            NonResourceRule(verbs=rule.verbs, nonResourceURLs=rule.nonResourceURLs)
            for rule in rules
            if rule.nonResourceURLs
        ]
        if MASTERS in user.groups:
            resources = [ALL_RESOURCES, *(one for one in resources if one != ALL_RESOURCES)]
            urls = [ALL_URLS, *(one for one in urls if one != ALL_URLS)]
        obj.status = SubjectRulesReviewStatus(
            resourceRules=tuple(resources),
            nonResourceRules=tuple(urls),
            incomplete=node_name(user) is not None,
            evaluationError="what a node may do no rule says" if node_name(user) else "",
        )


class WhoAmI:
    """Who is the caller?"""

    def answer(self, user: Identity, resource: Resource, namespace: str, obj: Any) -> None:
        """As the request was authenticated."""
        obj.status = SelfSubjectReviewStatus(userInfo=user_info(user))


class _Asked(Protocol):
    resourceAttributes: ResourceAttributes | None
    nonResourceAttributes: NonResourceAttributes | None


def wanted(spec: _Asked) -> Attributes:
    """What a review asks about."""
    asked = spec.resourceAttributes
    if asked is not None:
        return Attributes(
            asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, asked.name
        )
    assert spec.nonResourceAttributes is not None
    return Attributes(spec.nonResourceAttributes.verb, path=spec.nonResourceAttributes.path)


def _decided(
    authorizer: Authorizer, user: Identity, about: Attributes
) -> SubjectAccessReviewStatus:
    decision = authorizer.decide(user, about)
    return SubjectAccessReviewStatus(
        allowed=decision.allowed, denied=decision.denied, reason=decision.reason
    )


def _attribute_problems(spec: _Asked) -> list[FieldError]:
    if (spec.resourceAttributes is None) == (spec.nonResourceAttributes is None):
        which = "cannot be specified in combination with resourceAttributes"
        if spec.resourceAttributes is None:
            which = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            return [errors.invalid("spec.resourceAttributes", None, which)]
        return [errors.invalid("spec.nonResourceAttributes", {}, which)]
    return []


def _namespace_problems(spec: SubjectAccessReviewSpec, namespace: str) -> list[FieldError]:
    if spec.nonResourceAttributes is not None:
        text = "disallowed on this kind of request"
        return [errors.invalid("spec.nonResourceAttributes", {}, text)]
    asked = spec.resourceAttributes
    if asked is not None and asked.namespace != namespace:
        path = "spec.resourceAttributes.namespace"
        return [errors.invalid(path, asked.namespace, "must match metadata.namespace")]
    return []


def _refuse(resource: Resource, found: list[FieldError]) -> None:
    if found:
        raise errors.invalid_object(resource.group, resource.kind, "", found)

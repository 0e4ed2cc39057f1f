"""Target: the collection, the object or the part of an object that a call is for."""

from __future__ import annotations

from typing import NamedTuple

from common.api import errors
from common.api.resource import Resource
from master.apiserver.auth.attributes import Attributes


class Target(NamedTuple):
    """A resource; of it one namespace, one object and one subresource, where these are named."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def attributes(self, verb: str) -> Attributes:
        """What authorization is asked about a verb on this."""
        resource = self.resource
        return Attributes(
            verb, resource.group, resource.plural, self.subresource, self.namespace, self.name
        )

    @property
    def path(self) -> str:
        """Its path in the Kubernetes API."""
        resource = self.resource
        parts = [
            "",
            *(("apis", resource.group) if resource.group else ("api",)),
            resource.version,
            *(("namespaces", self.namespace) if self.namespace else ()),
            resource.plural,
            *filter(None, (self.name, self.subresource)),
        ]
        return "/".join(parts)


def check_segment(text: str) -> None:
    """Raise StatusError 400 for what cannot be a name: it could lead to another object."""
    if "/" in text or "\0" in text or text in (".", ".."):
        raise errors.bad_request(f"invalid path segment: {text}")

"""What a request wants to do, as authorization sees it."""

from __future__ import annotations

from typing import NamedTuple


class Attributes(NamedTuple):
    """A verb on a resource, or on a `path` that is none. A resource need not be served."""

    verb: str
    group: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def what(self) -> str:
        """The resource as rules name it, such as `pods` or `pods/log`."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural

    def __str__(self) -> str:
        """As a denial says it: what the user cannot do."""
        if self.path:
            return f'{self.verb} path "{self.path}"'
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{self.verb} resource "{self.what}" in API group "{self.group}" {where}'

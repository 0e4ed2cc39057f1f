"""What the generated index says of a kind and of a resource."""

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """An object type: `("apps/v1", "Deployment")` with its module in common.api.types."""

    api_version: str
    name: str
    module: str


class Column(msgspec.Struct, frozen=True):
    """A column of `kubectl get`: see the message of the same name in protos/options.proto."""

    name: str
    type: str
    path: str
    priority: int


class Subresource(msgspec.Struct, frozen=True):
    """A path below an object and the kind that is read and written there."""

    name: str
    kind: str


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind is served: the message of the same name in protos/options.proto, resolved."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    columns: tuple[Column, ...] = ()
    inert: bool = False
    deprecated: str = ""
    has_status: bool = False

    @property
    def api_version(self) -> str:
        """`v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods`, `deployments.apps`: how messages name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of that name, or None."""
        return next((sub for sub in self.subresources if sub.name == name), None)

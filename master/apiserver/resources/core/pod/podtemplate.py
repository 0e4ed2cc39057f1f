"""Rules of PodTemplate. Source: k8s.io/kubernetes pkg/registry/core/podtemplate."""

from __future__ import annotations

from typing import ClassVar

from common.api import errors
from common.api.errors import FieldError
from common.api.types.core_v1 import PodTemplate
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.pod import podwarnings
from master.apiserver.resources.core.pod.poddefaults import default_template
from master.apiserver.resources.core.pod.podspec import validate_template


class PodTemplateStrategy(Strategy):
    """A template of its own follows the rules of those in workloads."""

    generation: ClassVar[bool] = True

    def default(self, obj: PodTemplate) -> None:
        """The defaults of pods."""
        default_template(obj.template)

    def prepare_update(self, new: PodTemplate, old: PodTemplate) -> None:
        """Defaults first: what a client leaves out again is no change."""
        self.default(new)
        super().prepare_update(new, old)

    def warnings(self, obj: PodTemplate, old: PodTemplate | None = None) -> list[str]:
        """Those for pods; again when the template has changed."""
        if old is not None and obj.metadata.generation == old.metadata.generation:
            return []
        template = obj.template
        return podwarnings.of_template("template", template.spec, template.metadata)

    def validate(self, obj: PodTemplate) -> list[FieldError]:
        """The rules of pod templates."""
        return errors.first(validate_template("template", obj.template))

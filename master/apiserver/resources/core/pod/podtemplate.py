"""Rules of PodTemplate. Source: k8s.io/kubernetes pkg/registry/core/podtemplate."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from common.api import errors
from common.api.errors import FieldError
from common.api.types.core_v1 import PodTemplate
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.pod import podwarnings
from master.apiserver.resources.core.pod.poddefaults import default_template
from master.apiserver.resources.core.pod.podspec import validate_template
from master.apiserver.resources.lib import cells


class PodTemplateStrategy(Strategy):
    """A template of its own follows the rules of those in workloads."""

    delete_answers_object = True
    generation: ClassVar[bool] = True

    def default(self, obj: PodTemplate) -> None:
        """The defaults of pods."""
        default_template(obj.template)

    def warnings(self, obj: PodTemplate, old: PodTemplate | None = None) -> list[str]:
        """Those for pods; again when the template has changed."""
        if old is not None and obj.metadata.generation == old.metadata.generation:
            return []
        template = obj.template
        return podwarnings.of_template("template", template.spec, template.metadata)

    def validate(self, obj: PodTemplate) -> list[FieldError]:
        """The rules of pod templates."""
        return errors.first(validate_template("template", obj.template))


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a PodTemplate."""
    template = obj.get("template", {})
    labels = template.get("metadata", {}).get("labels", {})
    return {"Pod Labels": cells.pairs(labels), **cells.containers(template)}


RULES = {"podtemplates": Rules(PodTemplateStrategy, cells_of)}

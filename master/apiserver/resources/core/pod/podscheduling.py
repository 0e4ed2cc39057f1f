"""Rules for where pods may run: tolerations, affinity, spreading.

Source: k8s.io/kubernetes pkg/apis/core/validation.
"""

from __future__ import annotations

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.core_v1 import (
    Affinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinityTerm,
    Toleration,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from common.api.types.meta_v1 import LabelSelector
from master.apiserver.resources.lib.checks import (
    Findings,
    few,
    label_selector,
    named,
    one_of,
    operator_values,
)

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

TERMS_MAX = 64
"""Of each list about nodes. Each is compared with every node."""
REQUIREMENTS_MAX = 64
"""Of each of them."""
POD_TERMS_MAX = 16
"""Of each list about pods. Each is compared with every pod, again for each that comes later."""
POD_REQUIREMENTS_MAX = 16
"""Of each of them."""
TOLERATIONS_MAX = 256
"""Each is compared with every taint."""


def validate_tolerations(path: str, tolerations: tuple[Toleration, ...]) -> Findings:
    """A key, what its value must be, and for how long the pod may stay."""
    yield from few(path, tolerations, TOLERATIONS_MAX)
    for number, toleration in enumerate(tolerations):
        here = f"{path}[{number}]"
        if toleration.key:
            yield from named(f"{here}.key", toleration.key, names.qualified_name)
        elif toleration.operator != "Exists":
            text = (
                "operator must be Exists when `key` is empty, which means "
                '"match all values and all keys"'
            )
            yield errors.invalid(f"{here}.operator", toleration.operator, text)
        if toleration.tolerationSeconds is not None and toleration.effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield errors.invalid(f"{here}.effect", toleration.effect, text)
        yield from _toleration_value(here, toleration)
        if toleration.effect and toleration.effect not in EFFECTS:
            yield errors.not_supported(f"{here}.effect", toleration.effect, EFFECTS)


def _toleration_value(path: str, toleration: Toleration) -> Findings:
    operator, value = toleration.operator, toleration.value
    if operator in ("Equal", ""):
        problems = names.label_value(value)
        if problems:
            yield errors.invalid(f"{path}.operator", value, ";".join(problems))
    elif operator != "Exists":
        yield errors.not_supported(f"{path}.operator", operator, ("Equal", "Exists"))
    elif value:
        text = "value must be empty when `operator` is 'Exists'"
        yield errors.invalid(f"{path}.operator", value, text)


def validate_affinity(path: str, affinity: Affinity) -> Findings:
    """Attraction to nodes and pods, and repulsion between pods."""
    nodes = affinity.nodeAffinity
    if nodes is not None:
        here = f"{path}.nodeAffinity"
        required = nodes.requiredDuringSchedulingIgnoredDuringExecution
        if required is not None:
            yield from validate_node_selector(f"{here}.{_REQUIRED}", required)
        preferred = nodes.preferredDuringSchedulingIgnoredDuringExecution
        yield from few(f"{here}.{_PREFERRED}", preferred, TERMS_MAX)
        for number, preference in enumerate(preferred):
            where = f"{here}.{_PREFERRED}[{number}]"
            yield from _weight(where, preference.weight)
            yield from _node_term(f"{where}.preference", preference.preference, values=False)
    for name, pods in (
        ("podAffinity", affinity.podAffinity),
        ("podAntiAffinity", affinity.podAntiAffinity),
    ):
        if pods is not None:
            terms = pods.requiredDuringSchedulingIgnoredDuringExecution
            yield from few(f"{path}.{name}.{_REQUIRED}", terms, POD_TERMS_MAX)
            for number, term in enumerate(terms):
                yield from _pod_term(f"{path}.{name}.{_REQUIRED}[{number}]", term)
            weighted = pods.preferredDuringSchedulingIgnoredDuringExecution
            yield from _weighted(f"{path}.{name}.{_PREFERRED}", weighted)


def _weighted(path: str, terms: tuple[WeightedPodAffinityTerm, ...]) -> Findings:
    yield from few(path, terms, POD_TERMS_MAX)
    for number, term in enumerate(terms):
        yield from _weight(f"{path}[{number}]", term.weight)
        yield from _pod_term(f"{path}[{number}].podAffinityTerm", term.podAffinityTerm)


def _weight(path: str, weight: int) -> Findings:
    if not 1 <= weight <= 100:
        yield errors.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def validate_node_selector(path: str, selector: NodeSelector) -> Findings:
    """Terms of which one must fit."""
    where = f"{path}.nodeSelectorTerms"
    if not selector.nodeSelectorTerms:
        yield errors.required(where, "must have at least one node selector term")
    yield from few(where, selector.nodeSelectorTerms, TERMS_MAX)
    for number, term in enumerate(selector.nodeSelectorTerms):
        yield from _node_term(f"{where}[{number}]", term)


def _node_term(path: str, term: NodeSelectorTerm, *, values: bool = True) -> Findings:
    """A term; what no node can have as a label's value does harm only where it must fit."""
    yield from few(f"{path}.matchExpressions", term.matchExpressions, REQUIREMENTS_MAX)
    yield from few(f"{path}.matchFields", term.matchFields, REQUIREMENTS_MAX)
    for number, requirement in enumerate(term.matchExpressions):
        yield from _node_label(f"{path}.matchExpressions[{number}]", requirement, values=values)
    for number, requirement in enumerate(term.matchFields):
        yield from _node_field(f"{path}.matchFields[{number}]", requirement)


def _node_label(path: str, requirement: NodeSelectorRequirement, *, values: bool) -> Findings:
    if requirement.operator in ("Gt", "Lt"):
        if len(requirement.values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield errors.required(f"{path}.values", text)
    else:
        yield from operator_values(path, requirement.operator, requirement.values)
    yield from named(f"{path}.key", requirement.key, names.qualified_name)
    for index, value in enumerate(requirement.values if values else ()):
        yield from named(f"{path}.values[{index}]", value, names.label_value)


def _node_field(path: str, requirement: NodeSelectorRequirement) -> Findings:
    """The one field of nodes that can be asked for is the name."""
    if requirement.operator not in ("In", "NotIn"):
        text = "not a valid selector operator"
        yield errors.invalid(f"{path}.operator", requirement.operator, text)
    elif len(requirement.values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield errors.required(f"{path}.values", text)
    if requirement.key != "metadata.name":
        yield errors.invalid(f"{path}.key", requirement.key, "not a valid field selector key")
        return
    for index, value in enumerate(requirement.values):
        yield from named(f"{path}.values[{index}]", value, names.dns_subdomain)


def _pod_term(path: str, term: PodAffinityTerm) -> Findings:
    yield from _selector(f"{path}.labelSelector", term.labelSelector)
    yield from _selector(f"{path}.namespaceSelector", term.namespaceSelector)
    for name in term.namespaces:
        yield from named(f"{path}.namespace", name, names.dns_label)
    for member in ("matchLabelKeys", "mismatchLabelKeys"):
        yield from _label_keys(f"{path}.{member}", getattr(term, member), term.labelSelector)
    both = set(term.matchLabelKeys) & set(term.mismatchLabelKeys)
    for number, key in enumerate(term.matchLabelKeys):
        if key in both:
            text = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield errors.invalid(f"{path}.matchLabelKeys[{number}]", key, text)
    if not term.topologyKey:
        yield errors.required(f"{path}.topologyKey", "can not be empty")
    yield from named(f"{path}.topologyKey", term.topologyKey, names.qualified_name)


def _selector(path: str, selector: LabelSelector | None) -> Findings:
    if selector is not None:
        yield from few(f"{path}.matchLabels", selector.matchLabels, POD_REQUIREMENTS_MAX)
        yield from few(f"{path}.matchExpressions", selector.matchExpressions, POD_REQUIREMENTS_MAX)
    yield from label_selector(path, selector)


def _label_keys(path: str, keys: tuple[str, ...], selector: object) -> Findings:
    yield from few(path, keys, POD_REQUIREMENTS_MAX)
    if keys and selector is None:
        yield errors.forbidden(path, "must not be specified when labelSelector is not set")
    for number, key in enumerate(keys):
        yield from named(f"{path}[{number}]", key, names.qualified_name)


def validate_spreading(path: str, constraints: tuple[TopologySpreadConstraint, ...]) -> Findings:
    """How evenly pods spread over the values of a node label."""
    yield from few(path, constraints, POD_TERMS_MAX)
    seen: set[tuple[str, str]] = set()
    for number, constraint in enumerate(constraints):
        here, policy = f"{path}[{number}]", constraint.whenUnsatisfiable
        if constraint.maxSkew < 1:
            yield _not_positive(f"{here}.maxSkew", constraint.maxSkew)
        if not constraint.topologyKey:
            yield errors.required(f"{here}.topologyKey", "can not be empty")
        if policy not in ("DoNotSchedule", "ScheduleAnyway"):
            allowed = ("DoNotSchedule", "ScheduleAnyway")
            yield errors.not_supported(f"{here}.whenUnsatisfiable", policy, allowed)
        if (constraint.topologyKey, policy) in seen:
            value = f"{{{constraint.topologyKey}, {policy}}}"
            yield errors.duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", value)
        seen.add((constraint.topologyKey, policy))
        yield from _min_domains(f"{here}.minDomains", constraint)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            yield from one_of(f"{here}.{name}", getattr(constraint, name), ("Honor", "Ignore"))
        yield from _label_keys(
            f"{here}.matchLabelKeys", constraint.matchLabelKeys, constraint.labelSelector
        )
        yield from _selector(f"{here}.labelSelector", constraint.labelSelector)


def _min_domains(path: str, constraint: TopologySpreadConstraint) -> Findings:
    minimum, policy = constraint.minDomains, constraint.whenUnsatisfiable
    if minimum is None:
        return
    if minimum < 1:
        yield _not_positive(path, minimum)
    if policy != "DoNotSchedule":
        text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {policy}"
        yield errors.invalid(path, minimum, text)


def _not_positive(path: str, number: int) -> FieldError:
    return errors.invalid(path, number, "must be greater than zero")

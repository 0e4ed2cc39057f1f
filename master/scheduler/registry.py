"""The plugins that run, in Kubernetes' order and with its weights. To add one, add a line."""

from __future__ import annotations

from master.scheduler.framework import Filter, Score
from master.scheduler.plugins.balanced_allocation import BalancedAllocation
from master.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from master.scheduler.plugins.node_affinity import NodeAffinity
from master.scheduler.plugins.node_ports import NodePorts
from master.scheduler.plugins.node_resources_fit import NodeResourcesFit
from master.scheduler.plugins.node_unschedulable import NodeUnschedulable
from master.scheduler.plugins.pod_topology_spread import PodTopologySpread
from master.scheduler.plugins.taint_toleration import TaintToleration

FILTERS: tuple[Filter, ...] = (
    NodeUnschedulable(),
    TaintToleration(),
    NodeAffinity(),
    NodePorts(),
    NodeResourcesFit(),
    PodTopologySpread(),
    InterPodAffinity(),
)
SCORES: tuple[tuple[Score, float], ...] = (
    (TaintToleration(), 3),
    (NodeAffinity(), 2),
    (NodeResourcesFit(), 1),
    (PodTopologySpread(), 2),
    (InterPodAffinity(), 2),
    (BalancedAllocation(), 1),
)

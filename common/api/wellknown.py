"""Names that Kubernetes gives and that several parts know: each once.

What a single part uses stands in that part, and so do names that only Wherry has.
"""

from __future__ import annotations

CLUSTER_DOMAIN = "cluster.local"
"""Names of Services and pods in the DNS end in it."""
KUBE_SYSTEM = "kube-system"
NODE_LEASES = "kube-node-lease"
"""The namespace of the Leases that show the heartbeats of nodes."""
SYSTEM_NAMESPACES = ("default", NODE_LEASES, "kube-public", KUBE_SYSTEM)

MASTERS = "system:masters"
"""The group of administrators, who may do everything."""
AUTHENTICATED = "system:authenticated"
BOOTSTRAPPERS = "system:bootstrappers"
"""The group of machines that join with a token."""
NODES_GROUP = "system:nodes"
NODE_USER_PREFIX = "system:node:"

KUBELET_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"

ACCOUNT_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type, not a secret
"""The type of Secrets that hold the token of a service account, and their annotations."""
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"

HOSTNAME = "kubernetes.io/hostname"
OS = "kubernetes.io/os"
ARCH = "kubernetes.io/arch"
"""Labels of nodes."""

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
"""Taints."""

PVC_PROTECTION = "kubernetes.io/pvc-protection"
PV_PROTECTION = "kubernetes.io/pv-protection"
"""Finalizers of what pods use."""

MIRROR_POD = "kubernetes.io/config.mirror"
"""The annotation of pods that a kubelet runs by itself."""

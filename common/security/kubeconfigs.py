"""Kubeconfigs of people and programs: what their certificates say, and how the cluster knows them.

A certificate of this group counts while there is a Secret for its user that has its serial number.
"""

from common.api.wellknown import KUBE_SYSTEM

GROUP = "wherry.dev:kubeconfigs"
SIGNER = "wherry.dev/kubeconfig"
NAMESPACE = KUBE_SYSTEM
SECRET_TYPE = "wherry.dev/kubeconfig"  # noqa: S105 - a type, not a secret
NAME_PREFIX = "kubeconfig-"
SERIAL, EXPIRES, GROUPS, AUTHORITY = "serial", "expires", "groups", "authority"
"""The keys of that Secret: number in hex, time in RFC 3339, groups separated by commas, key id in
hex."""
REQUEST = "wherry.dev/request"
"""Its annotation: the uid of the request that it was made for."""
NAME_MAX = 63

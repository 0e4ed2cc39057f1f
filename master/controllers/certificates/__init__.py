"""Signs client certificates of nodes and kubeconfigs."""

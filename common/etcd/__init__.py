"""The etcd client: the only door to etcd. It speaks of keys and bytes, never of kinds."""

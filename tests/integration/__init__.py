"""Real processes on loopback and in namespaces: etcd, Podman, the API server."""

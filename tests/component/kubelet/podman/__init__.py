"""The kubelet on a real Podman."""

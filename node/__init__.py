"""What runs on a machine that carries pods: the kubelet and what it drives."""

"""The pure parts of kube-proxy: table, plan, model."""

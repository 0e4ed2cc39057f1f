"""Services: kube-proxy's rules, and how long a change takes to get there."""

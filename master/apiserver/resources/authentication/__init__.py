"""authentication.k8s.io: whose a token is."""

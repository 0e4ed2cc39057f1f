"""The Kubernetes API: one registry behind REST and gRPC. No controller logic lives here."""

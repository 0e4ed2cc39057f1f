"""What is read from containers: logs."""

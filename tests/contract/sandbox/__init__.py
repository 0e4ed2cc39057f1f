"""What every Sandbox does, on the fake and on Linux namespaces."""

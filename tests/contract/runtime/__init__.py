"""What every Runtime does, on the fake and on Podman; and what only Podman can show."""

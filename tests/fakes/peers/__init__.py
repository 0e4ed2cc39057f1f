"""The other end of a connection: a master that nodes join, the gateway, systemd's socket."""

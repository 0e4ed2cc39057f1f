"""Pure code only: no loop where it can be avoided, no sockets, no root, instant."""

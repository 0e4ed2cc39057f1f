"""Pod sandboxes: namespaces, veth pairs, addresses. The only door to netlink."""

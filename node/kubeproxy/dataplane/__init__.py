"""The doors to the kernel: nftables and connection tracking. No decision is made here."""

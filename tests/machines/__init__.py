"""Real systemd machines, and what is proved on them. Tests need root and the packages of `vm up`.

`tests/machines/vm` makes the machines: m1, n1, n2 with Debian 12 and n3 with Debian 13, privileged
systemd containers on a LAN that exists in no namespace but theirs. Each has an ssh server, Debian's
etcd running as on any machine that has the package, a gateway that leads nowhere, and no name
server. `vm help` lists the verbs; `make machines` is `vm up`.

What these machines share with the host proves nothing: the clock (never set it), the page cache (a
power cut loses no write that was not synced), the kernel's log and the sum of memory and CPUs.

`guest.py` makes the one machine that shares nothing: a QEMU guest with Debian 12 as it comes. It
proves what a container cannot: cgroups v2 with crun and systemd, limits in a pod's cgroup, a reboot
of the kernel, and that what the API server has acknowledged is on the disk when the power goes. It
is emulated, so it is slow: test_guest.py takes most of an hour, and is in `tests/run full` alone,
which installs QEMU.
"""

#!/usr/bin/env bash
# The first process of a holder, already in its namespaces: arranges what it sees, then sleeps.
# Arguments: STATE LAN.
set -euo pipefail
state=$1 lan=$2

# Others' mounts below /run would live as long as this copy of them.
awk '$5 ~ "^/run/" {print $5}' /proc/self/mountinfo | tac | xargs -r umount -l

# Podman's run directory and locks, ours alone; its caches, too.
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
[[ ! -d /var/lib/containers ]] || mount --bind "$state/podman/host" /var/lib/containers

# A sysfs of this network namespace, with the host's cgroups.
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount -l /run/cgroup

# The bridge is the LAN, and the machines' gateway: it forwards, but has no way to anywhere else,
# and says so at once.
ip link set lo up
ip link add br0 address 02:97:0a:61:07:fe type bridge forward_delay 0 stp_state 0
ip address add "$lan.254/24" dev br0
ip link set br0 up
echo 1 > /proc/sys/net/ipv4/ip_forward

echo $$ > "$state/holder"
exec -a "wherry-machines $state" sleep infinity

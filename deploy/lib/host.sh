# shellcheck shell=bash
# What this host has: cgroups, limits, and processes by their namespaces. Needs nothing.

cgroup_v2() { [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; }

# The mount points of the cgroup hierarchies in use: one on v2, one per controller on v1. The
# unified hierarchy of a hybrid host carries no controller and stays out.
cgroup_roots() {
    local dir
    if cgroup_v2; then
        echo /sys/fs/cgroup
        return
    fi
    for dir in /sys/fs/cgroup/*; do
        [[ -L $dir || $(stat -fc %T "$dir") != cgroupfs ]] || echo "$dir"
    done
}

# Bit 24 is CAP_SYS_RESOURCE: without it no limit can be raised, and Podman's defaults are higher.
can_raise_limits() {
    (((16#$(awk '/^CapEff/ {print $2}' /proc/self/status) >> 24) & 1))
}

# A line of [containers] for a Podman that must keep its containers below this host's limits.
podman_limits() {
    local open_files
    ! can_raise_limits || return 0
    open_files=$(ulimit -Hn)
    [[ $open_files != unlimited ]] && ((open_files < 16384)) || open_files=16384
    echo "default_ulimits = [\"nofile=$open_files:$open_files\", \"nproc=16384:16384\"]"
}

# namespaces_of PIDS -> one inode a line, none of them the host's.
namespaces_of() {
    local pid
    for pid in $1; do
        stat -Lc %i "/proc/$pid/ns/"{pid,net,mnt} 2>/dev/null || true
    done | sort -u | grep -vxFf <(stat -Lc %i /proc/self/ns/{pid,net,mnt}) || true
}

# processes_in NAMESPACES -> one number a line, in the order that comm asks for.
processes_in() {
    { stat -Lc '%i %n' /proc/[0-9]*/ns/{pid,net,mnt} 2>/dev/null || true; } |   # some end meanwhile
        awk -v ours="$1" 'BEGIN {split(ours, list, "\n"); for (i in list) is_ours[list[i]]}
            $1 in is_ours {split($2, part, "/"); print part[3]}' | sort -u
}

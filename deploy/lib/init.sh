#!/usr/bin/env bash
# The first process of a machine, already in its namespaces: arranges what it sees, then becomes
# the supervisor's parent. Arguments: MACHINE; environment: WHERRY_LOCAL_NAME,
# WHERRY_LOCAL_STATE, WHERRY_VENV.
set -euo pipefail

# shellcheck source=deploy/lib/common.sh
source "$(dirname "$0")/common.sh"
machine=$1
private=$STATE/$machine/private
settings=$STATE/$machine/settings
run=$RUN/$machine/run

# The v1 hierarchies, as DIRECTORY:OPTIONS. A hierarchy is mounted again by naming its controllers.
hierarchies() {
    local dir controllers
    for dir in /sys/fs/cgroup/*; do
        [[ ! -L $dir && $(stat -fc %T "$dir") == cgroupfs ]] || continue
        controllers=$(findmnt -no OPTIONS "$dir" | tr , '\n' | grep -xE \
            'name=.*|cpu|cpuacct|cpuset|memory|devices|freezer|blkio|pids|hugetlb|perf_event|net_cls|net_prio|rdma|misc')
        echo "${dir##*/}:${controllers//$'\n'/,}"
    done
}

# A sysfs of this network namespace, and cgroups whose root is the machine's.
mount_sys() {
    local layout entry
    layout=$([[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]] || hierarchies)
    umount -lR /sys
    mount -t sysfs sysfs /sys
    if [[ -z $layout ]]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        return
    fi
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    while read -r entry; do
        mkdir "/sys/fs/cgroup/${entry%%:*}"
        mount -t cgroup -o "${entry#*:}" cgroup "/sys/fs/cgroup/${entry%%:*}"
    done <<< "$layout"
}

# Unmounts other machines' pinned namespaces, which would live as long as this copy of the mounts.
forget_others() {
    local dir
    while read -r dir; do umount "$dir"; done < <(findmnt -rno TARGET | grep "^$RUN_ROOT/" |
        grep -vx "$RUN" | tac)
}

mount_private() {
    local dir store
    store=$(cat "$settings/image-store")
    for dir in "${PRIVATE_DIRS[@]}"; do mount --bind "$private$dir" "$dir"; done
    mkdir -p "$run/lock" "$run/machine"
    mount --bind "$settings" "$run/machine"
    mount --bind -o ro "$IMAGES/$store" "$run/machine/images"
    # Podman keeps its locks in /dev/shm and frees them all when it sees a reboot.
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
}

# The files that name things; where one is a link into /run, the machine's /run gets it.
mount_names() {
    local file target
    for file in hostname hosts resolv.conf; do
        target=$(readlink -m "/etc/$file")
        case $target in
            /run/*)
                mkdir -p "$run/$(dirname "${target#/run/}")"
                cp "$settings/$file" "$run/${target#/run/}"
                ;;
            *) [[ ! -e $target ]] || mount --bind "$settings/$file" "$target" ;;
        esac
    done
}

# /tmp and /run come last: what is needed from the host's may lie there.
mount_last() {
    cp -r "$STATE/$machine/services" "$run/service"
    touch -d "1 minute ago" "$run/service"   # runsvdir waits a second over a directory just made
    if [[ $VENV == /tmp/* ]]; then
        mkdir -p "$private$VENV"
        mount --bind -o ro "$VENV" "$private$VENV"
    fi
    mount --rbind "$private/tmp" /tmp
    touch "$run/mounted"
    mount --rbind "$run" /run
    mount --make-rshared /
}

main() {
    hostname "$machine"
    mount_sys
    forget_others
    mount_private
    mount_names
    mount_last
    until [[ -e /run/connected ]]; do sleep 0.02; done
    # shellcheck source=/dev/null
    source /run/machine/environment
    exec catatonit -- runsvdir -P /run/service
}

main

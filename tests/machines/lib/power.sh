# shellcheck shell=bash
# A machine's power and its cable. In $STATE/MACHINE, `pid` is the host's number of its first
# process, `net` the inode of its network namespace, and `cut` says that its cable is pulled. Needs
# holder.sh and image.sh.

machine_names() {                            # those that were made
    local machine
    for machine in "${MACHINES[@]}"; do [[ ! -d $STATE/$machine ]] || echo "$machine"; done
}

# The number of the machine's first process, or failure. The namespace is compared, so that a
# recycled number is not taken for the machine.
machine_pid() {
    local pid
    pid=$(cat "$STATE/$1/pid" 2>/dev/null) && holder_pid >/dev/null || return 1
    [[ -n $pid && $(stat -Lc %i "/proc/$pid/ns/net" 2>/dev/null) == $(cat "$STATE/$1/net") ]] &&
        echo "$pid"
}

machine_alive() { machine_pid "$1" >/dev/null; }
machine_dead() { ! machine_alive "$1"; }

machine_must_be_known() {
    if [[ ! -d $STATE/$1 ]] || ! holder_pid >/dev/null; then
        die "$1 was not made; $PROGRAM up $1 makes it"
    fi
}

machine_must_be_on() {
    machine_must_be_known "$1"
    machine_alive "$1" || die "$1 is off; $PROGRAM on $1 turns it on"
}

# cable_lay MACHINE: a new network namespace for every boot, so that no address, route or rule
# outlives a power cut. Its sysctls would be the host's, but a new Debian does not forward.
cable_lay() {
    local ns=/run/netns/$1
    in_holder ip link del dev "$1" 2>/dev/null || true
    in_holder ip netns del "$1" 2>/dev/null || true
    in_holder ip netns add "$1"
    in_holder stat -Lc %i "$ns" > "$STATE/$1/net"
    in_holder nsenter --net="$ns" sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'
    in_holder ip link add dev "$1" type veth peer name eth0 address "$(machine_mac "$1")" netns "$1"
    in_holder ip link set dev "$1" master br0
    in_holder ip -n "$1" link set lo up
    in_holder ip -n "$1" address add "$(machine_address "$1")/24" dev eth0
    in_holder ip -n "$1" link set eth0 up
    in_holder ip -n "$1" route add default via "$LAN.254"
    cable_set "$1"
}

# cable_set MACHINE: the bridge's end is up unless the cable is pulled; eth0 loses its carrier.
cable_set() {
    local to=up
    [[ ! -e $STATE/$1/cut ]] || to=down
    ! in_holder ip link show dev "$1" >/dev/null 2>&1 || in_holder ip link set dev "$1" "$to"
}

machine_on() {                               # MACHINE
    mkdir -p "$STATE/$1"
    if ! machine_alive "$1"; then
        machine_settle "$1"
        cable_lay "$1"
    fi
    if podman container exists "$1"; then
        podman start "$1" >/dev/null         # also after a start that was interrupted
    else
        machine_make "$1" >/dev/null
    fi
    machine_alive "$1" || die "$1 did not start: $(podman logs "$1" 2>&1 | tail -n 2)"
    # From now on the network ends with the machine: a kernel answers pings for a dead one.
    in_holder ip netns del "$1" 2>/dev/null || true
}

# What is in a volume, or in the container's own layer, is the machine's disk.
machine_make() {
    podman run --detach --name "$1" --hostname "$1" --privileged --systemd=always \
        --cgroupns=private --cgroup-parent="/$CGROUP" --pids-limit=-1 --no-hosts --dns=none \
        --network="ns:/run/netns/$1" --pidfile="$STATE/$1/pid" --log-driver=k8s-file \
        --volume="$1-containers:/var/lib/containers" --volume="$1-journal:/var/log/journal" \
        --volume="$STATE/containers.conf:/etc/containers/containers.conf:ro" \
        --volume="$STATE/key.pub:/root/.ssh/authorized_keys:ro" \
        "$(image_tag "${RELEASES[$1]}")" /sbin/machine-init
}

# machine_settle MACHINE: it is off; waits until Podman knows, too.
machine_settle() {
    [[ ! -e $STATE/$1/pid ]] || podman wait --interval 50ms "$1" >/dev/null
    rm -f "$STATE/$1/pid"
}

# machine_wait MACHINE: returns when systemd has started, or given up, everything.
machine_wait() {
    wait_for 90 "$1 to boot" machine_booted "$1" ||
        die "$1 did not boot: $(podman logs "$1" 2>&1 | tail -n 2)"
}

machine_booted() { [[ $(machine_exec "$1" systemctl is-system-running) =~ ^(running|degraded)$ ]]; }

# machine_exec MACHINE COMMAND...: runs it inside, cable or not.
machine_exec() {
    local pid
    pid=$(machine_pid "$1") || return 1
    nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup -- "${@:2}" 9>&-
}

# machine_off MACHINE: cuts the power. The kernel ends every process of its PID namespace.
machine_off() {
    kill -KILL "$(machine_pid "$1")"
    wait_for 20 "$1 to lose its power" machine_dead "$1" || die "$1 does not end"
    machine_settle "$1"
}

# machine_shut_down MACHINE: systemd stops everything and ends; what takes its 90 s is waited for.
machine_shut_down() {
    machine_exec "$1" systemctl reboot || true           # it may be cut off by its own success
    wait_for 150 "$1 to shut down" machine_dead "$1" || die "$1 does not shut down"
    machine_settle "$1"
}

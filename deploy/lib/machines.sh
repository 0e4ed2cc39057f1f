# shellcheck shell=bash
# Machines made of namespaces: each has a network, mounts, processes, a host name, IPC and cgroups
# of its own, a LAN address, a Podman and a supervisor. Killing its first process is pulling the
# plug: the kernel ends everything inside.
#
# Needs common.sh and host.sh. All state is files, so that any later call finds the machines again:
#   $STATE/MACHINE/private/...  directories that only the machine sees, kept over a power-off
#   $STATE/MACHINE/settings/    its address, environment and Podman's settings (/run/machine inside)
#   $STATE/MACHINE/services/    what its supervisor runs (copied to /run/service at every boot)
#   $RUN/MACHINE/run            its /run; $RUN/MACHINE/net pins its network; $RUN/MACHINE/pid
#   $RUN/lan                    pins the network namespace of the LAN's bridge

MACHINES_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CGROUP=wherry-local/$NAME                    # below every cgroup hierarchy

# ---------------------------------------------------------------------------------- cgroups

# cgroup_delegate DIR: lets the children of DIR use every controller that DIR has.
cgroup_delegate() {
    sed 's/[^ ]*/+&/g' "$1/cgroup.controllers" > "$1/cgroup.subtree_control"
}

cgroup_make() {                              # MACHINE
    local root dir part file
    while read -r root; do
        dir=$root
        for part in wherry-local "$NAME" "$1"; do
            ! cgroup_v2 || cgroup_delegate "$dir"
            mkdir -p "$dir/$part"
            for file in cpuset.cpus cpuset.mems; do      # v1: an empty set takes no process
                cgroup_v2 || [[ ! -e $dir/$file ]] || cat "$dir/$file" > "$dir/$part/$file"
            done
            dir=$dir/$part
        done
    done < <(cgroup_roots)
}

# cgroup_enter MACHINE PID [LEAF]: on v2 only a leaf may hold processes.
cgroup_enter() {
    local root
    while read -r root; do
        echo "$2" > "$root/$CGROUP/$1${3:-}/cgroup.procs"
    done < <(cgroup_roots)
}

# cgroup_processes PATH: every process in it and below, containers' too. All hierarchies agree.
cgroup_processes() {
    local root
    read -r root < <(cgroup_roots)
    find "$root/$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

cgroup_remove() {                            # PATH below the hierarchies
    local root tries
    while read -r root; do
        for ((tries = 0; tries < 100; tries++)); do      # the last process takes a moment to go
            [[ -d $root/$1 ]] || break
            find "$root/$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
        done
    done < <(cgroup_roots)
}

# ---------------------------------------------------------------------------------- the LAN

machine_address() {                          # MACHINE -> its number on the LAN
    case $1 in
        master) echo "$LAN.10" ;;
        node[1-9] | node[1-9][0-9]) echo "$LAN.$((10 + ${1#node}))" ;;
        *) die "no machine can be called $1; names are master, node1, node2 ..." ;;
    esac
}

# A MAC made from the address: after a reboot the neighbours' ARP entries stay true.
machine_mac() {
    local -a part
    IFS=. read -ra part <<< "$(machine_address "$1")"
    printf '02:77:%02x:%02x:%02x:%02x' "${part[@]}"
}

in_lan() { nsenter --net="$RUN/lan" "$@"; }

# The bridge lives in a namespace of its own, out of reach of the host's firewall. Every part is
# made if it is not there.
lan_up() {
    if ! mountpoint -q "$RUN/lan"; then
        touch "$RUN/lan"
        unshare --net="$RUN/lan" true
    fi
    if ! in_lan ip link show br0 >/dev/null 2>&1; then
        in_lan ip link add br0 type bridge forward_delay 0 stp_state 0 ||
            die "this kernel has no bridge (modprobe bridge)"
        in_lan ip link set br0 up
    fi
    if ! in_lan ip link show host >/dev/null 2>&1; then
        ip link del "$NAME-host" 2>/dev/null || true
        in_lan ip link add host type veth peer name "$NAME-host" netns "$$"
    fi
    in_lan ip link set host master br0 up
    ip address replace "$LAN.254/24" dev "$NAME-host"
    ip link set "$NAME-host" up
}

lan_down() {
    ip link del "$NAME-host" 2>/dev/null || true
    umount "$RUN/lan" 2>/dev/null || true
    rm -f "$RUN/lan"
}

# network_up MACHINE PID: the cable between the machine and the bridge, and the addresses.
network_up() {
    local in=(nsenter --net="$RUN/$1/net") address
    address=$(machine_address "$1")
    touch "$RUN/$1/net"
    mount --bind "/proc/$2/ns/net" "$RUN/$1/net"
    in_lan ip link del dev "$1" 2>/dev/null || true
    in_lan ip link add dev "$1" type veth peer name eth0 address "$(machine_mac "$1")" netns "$2"
    in_lan ip link set dev "$1" master br0 up
    "${in[@]}" ip link set lo up
    "${in[@]}" ip address add "$address/24" dev eth0
    "${in[@]}" ip link set eth0 up
    "${in[@]}" ip route add default via "$LAN.254"
}

# --------------------------------------------------------------------------------- settings

podman_settings() {                          # DIRECTORY that gets the two files
    local runtime=crun
    # runc takes every cgroup layout; crun refuses hybrid.
    [[ -z $(type -P runc) ]] || runtime=runc
    cat > "$1/containers.conf" <<CONF
[containers]
$(podman_limits)
[engine]
runtime = "$runtime"
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 10
[network]
network_config_dir = "/var/lib/containers/networks"
CONF
    cat > "$1/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
[storage.options]
additionalimagestores = ["/run/machine/images"]
CONF
}

# machine_settings MACHINE: everything about it that outlives a power-off, but its services.
machine_settings() {
    local settings=$STATE/$1/settings dir i
    mkdir -p "$settings/images" "$STATE/$1/services"
    # It keeps the images that it was made with: its containers need them.
    [[ -s $settings/image-store ]] || cp "$STATE/image-store" "$settings/image-store"
    for dir in "${PRIVATE_DIRS[@]}"; do mkdir -p "$STATE/$1/private$dir"; done
    mkdir -p "$STATE/$1/private/tmp"
    chmod 1777 "$STATE/$1/private/tmp"
    podman_settings "$settings"
    echo "$1" > "$settings/hostname"
    {
        echo "127.0.0.1 localhost"
        echo "$LAN.254 host"
        echo "$LAN.10 master"
        for i in {1..9}; do echo "$LAN.$((10 + i)) node$i"; done
    } > "$settings/hosts"
    echo "# this LAN has no name server" > "$settings/resolv.conf"
    cat > "$settings/environment" <<CONF
export PATH=${VENV@Q}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=${TERM:-dumb}
export CONTAINERS_CONF=/run/machine/containers.conf
export CONTAINERS_STORAGE_CONF=/run/machine/storage.conf
CONF
    machine_service "$1" podman \
        "mkdir -p /run/podman && exec podman system service -t 0 unix:///run/podman/podman.sock"
}

# machine_service MACHINE SERVICE COMMAND: what the supervisor runs from the next boot on. It
# restarts what ends, a second later at the earliest, and keeps the last ten MB of each log.
machine_service() {
    local dir=$STATE/$1/services/$2
    mkdir -p "$dir/log"
    printf '#!/bin/sh\n. /run/machine/environment\nexec 2>&1\n%s\n' "$3" > "$dir/run"
    printf '#!/bin/sh\nmkdir -p %s\nexec svlogd %s\n' \
        "/var/log/wherry/$2" "/var/log/wherry/$2" > "$dir/log/run"
    chmod +x "$dir/run" "$dir/log/run"
}

# -------------------------------------------------------------------------------- the power

# The number of the machine's first process, or failure. The namespace is compared, so that a
# recycled number is not taken for the machine.
machine_pid() {
    local pid
    pid=$(cat "$RUN/$1/pid" 2>/dev/null) || return 1
    [[ -n $pid && "/proc/$pid/ns/net" -ef "$RUN/$1/net" ]] && echo "$pid"
}

machine_alive() { machine_pid "$1" >/dev/null; }
machine_connected() { in_lan ip link show dev "$1" >/dev/null 2>&1; }

# Of the machine's processes the one that is number 1 in one namespace below ours.
first_process() {
    local pid
    for pid in $(cgroup_processes "$CGROUP/$1"); do
        [[ $(awk '/^NSpid/ {print NF, $NF}' "/proc/$pid/status" 2>/dev/null) != "3 1" ]] ||
            echo "$pid"
    done
}

# run_up: the private file system of all that lives as long as the machines do. Private, so that
# no machine keeps a copy of another one's mounts alive.
run_up() {
    mkdir -p "$RUN" "$STATE"
    mountpoint -q "$RUN" || mount -t tmpfs -o mode=700 tmpfs "$RUN"
    mount --make-private "$RUN"
}

# Directories that a machine's mounts need on the host; those made here are noted for `down`.
mount_points_make() {
    local dir
    for dir in "${PRIVATE_DIRS[@]}"; do
        [[ ! -d $dir ]] || continue
        mkdir -p "${MOUNT_POINTS%/*}"
        echo "$dir" >> "$MOUNT_POINTS"       # first the note: an interrupted run leaves nothing
        mkdir -p "$dir"
    done
}

# Removing a mount point would tear the mount out of other clusters' machines: the last one does.
mount_points_remove() {
    local dir
    [[ -e $MOUNT_POINTS && -z $(find "$RUN_ROOT" -mindepth 1 -type d) ]] || return 0
    while read -r dir; do rmdir "$dir" 2>/dev/null || true; done < "$MOUNT_POINTS"
    rm "$MOUNT_POINTS"
    rmdir "${MOUNT_POINTS%/*}" 2>/dev/null || true
}

machine_start() {                            # MACHINE, which has its settings
    local parent pid="" tries
    if machine_alive "$1" && machine_connected "$1"; then
        cp -rn "$STATE/$1/services/." "$RUN/$1/run/service/"     # what a newer version adds
        return
    fi
    machine_stop "$1"                        # it may be half there
    cgroup_make "$1"
    mount_points_make
    mkdir -p "$RUN/$1/run"
    (
        if cgroup_v2; then
            mkdir -p "/sys/fs/cgroup/$CGROUP/$1/init"
        fi
        cgroup_enter "$1" "$BASHPID"         # the cgroup namespace is rooted here
        exec setsid unshare --net --mount --uts --ipc --pid --cgroup --fork --mount-proc \
            --propagation slave -- env -i PATH="$PATH" WHERRY_LOCAL_NAME="$NAME" \
            WHERRY_LOCAL_STATE="$STATE_ROOT" WHERRY_VENV="$VENV" bash "$MACHINES_DIR/init.sh" "$1"
    ) < /dev/null > "$STATE/$1/boot.log" 2>&1 9>&- &
    parent=$!
    disown "$parent"
    for ((tries = 0; tries < 400; tries++)); do
        pid=$(first_process "$1")
        [[ -z $pid || ! -e $RUN/$1/run/mounted ]] || break
        kill -0 "$parent" 2>/dev/null || break
        sleep 0.05
    done
    [[ -e $RUN/$1/run/mounted ]] || die "$1 did not boot: $(tail -n 3 "$STATE/$1/boot.log")"
    ! cgroup_v2 || cgroup_settle "$1"
    network_up "$1" "$pid"
    touch "$RUN/$1/run/connected"            # init starts the supervisor now
    echo "$pid" > "$RUN/$1/pid"              # last: without it, the machine is not on
}

# v2: only leaves may hold processes, and the machine's root must not be one.
cgroup_settle() {                            # MACHINE
    local dir=/sys/fs/cgroup/$CGROUP/$1 pid tries
    for ((tries = 0; tries < 100; tries++)); do
        while read -r pid; do
            echo "$pid" > "$dir/init/cgroup.procs" || true       # it may have ended by itself
        done < "$dir/cgroup.procs" 2>/dev/null
        ! cgroup_delegate "$dir" 2>/dev/null || return 0
    done
    die "could not delegate the cgroup controllers to $1"
}

# machine_stop MACHINE: pulls the plug and waits until the kernel has ended every process.
machine_stop() {
    local -a pids killed=()
    local pid tries
    while readarray -t pids < <(cgroup_processes "$CGROUP/$1") && ((${#pids[@]})); do
        kill -KILL "${pids[@]}" 2>/dev/null || true
        killed+=("${pids[@]}")
        sleep 0.02
    done
    for pid in "${killed[@]}"; do            # it leaves the cgroup before it has ended
        for ((tries = 0; tries < 250; tries++)); do
            [[ -e /proc/$pid/ns/pid ]] || break
            sleep 0.02
        done
    done
    machine_clean "$1"
}

machine_clean() {
    in_lan ip link del dev "$1" 2>/dev/null || true
    umount "$RUN/$1/net" 2>/dev/null || true
    rm -rf --one-file-system "${RUN:?}/$1"
    cgroup_remove "$CGROUP/$1"
}

# machine_exec MACHINE COMMAND...: runs it inside, as its services run.
machine_exec() {
    local machine=$1 pid
    shift
    pid=$(machine_pid "$machine") || die "$machine is off (deploy/local start $machine)"
    (
        if cgroup_v2; then cgroup_enter "$machine" "$BASHPID" /init
        else cgroup_enter "$machine" "$BASHPID"; fi
        # shellcheck disable=SC2016  # the inner shell expands
        exec nsenter -t "$pid" -m -u -i -n -p -C -- \
            sh -c '. /run/machine/environment; cd /root && exec "$@"' sh "$@" 9>&-
    )
}

# --------------------------------------------------------------------------------- the end

# Every machine that has left a trace.
machine_names() {
    { ls "$STATE" "$RUN" 2>/dev/null || true; } |
        { grep -E '^(master|node[1-9][0-9]?)$' || true; } | sort -uV
}

existing_nodes() { machine_names | grep -c node || true; }

# How many nodes were asked for, also by an `up` that did not come so far; 3 without a cluster.
wanted_nodes() {
    local count
    count=$(cat "$STATE/nodes" 2>/dev/null || existing_nodes)
    ((count)) && echo "$count" || echo 3
}

machines_down() {
    local machine namespaces processes
    namespaces=$(namespaces_of "$(cgroup_processes "$CGROUP")")
    processes=$(processes_in "$namespaces")
    for machine in $(machine_names); do machine_stop "$machine" & done   # two seconds each
    wait
    lan_down
    cgroup_remove "$CGROUP"
    umount -l "$RUN" 2>/dev/null || true
    rmdir "$RUN" 2>/dev/null || true
    rm -rf --one-file-system "$STATE"
    mount_points_remove
    cgroup_roots | xargs -I{} rmdir {}/wherry-local 2>/dev/null || true  # other clusters' machines
    machines_gone "$namespaces" "$processes"
}

# machines_gone NAMESPACES PROCESSES: the proof. Prints one line, or what is left and fails. Both
# numbers are compared, since the kernel gives each of them to others at once.
machines_gone() {
    local left tries
    for ((tries = 0; tries < 100; tries++)); do          # a killed process takes a moment to go
        left=$(
            comm -12 <(processes_in "$1") <(echo "$2") | sed '/./s/^/process /'
            ip -o link show "$NAME-host" 2>/dev/null
            grep -e " ${RUN}[ /]" -e " ${STATE}[ /]" /proc/self/mountinfo
            cgroup_roots | xargs -I{} find {}/"$CGROUP" -maxdepth 0 2>/dev/null
            find "$RUN" "$STATE" 2>/dev/null
        ) || true
        [[ -n $left ]] || break
        sleep 0.02
    done
    [[ -z $left ]] || die "something is left:"$'\n'"$left"
    say "gone: no process, namespace, link, rule, mount, cgroup or data of $NAME is left"
}

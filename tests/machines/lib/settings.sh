# shellcheck shell=bash
# Which machines there are, where their data is, and what ssh and Podman are told of them. Needs
# common.sh and host.sh of deploy/lib.

# shellcheck disable=SC2034  # the files that source this one read them
{
    MACHINES=(m1 n1 n2 n3)
    declare -A NUMBERS=([m1]=10 [n1]=11 [n2]=12 [n3]=13)         # the last of the address
    declare -A RELEASES=([m1]=12 [n1]=12 [n2]=12 [n3]=13)        # of Debian
    LAN=10.97.7                              # in a namespace: every set of machines has it
    NAME=${WHERRY_MACHINES_NAME:-machines}
    STATE_ROOT=${WHERRY_MACHINES:-/var/tmp/wherry-machines}
    STATE=$STATE_ROOT/$NAME                  # this set's data, gone after `down`
    IMAGES=$STATE_ROOT/images                # read-only image stores, shared and kept
    CGROUP=wherry-machines/$NAME             # below every cgroup hierarchy
    # COMMAND:PACKAGE, what the host needs, on Debian and its children.
    MACHINES_NEEDED=(podman:podman runc:runc conmon:conmon mmdebstrap:mmdebstrap ip:iproute2
        ssh:openssh-client ssh-keygen:openssh-client nsenter:util-linux)
}

check_settings() {
    [[ $(id -u) == 0 ]] || die "must run as root"
    [[ $NAME =~ ^[a-z][a-z0-9]{0,15}$ && $NAME != images ]] ||
        die "WHERRY_MACHINES_NAME must be a lower-case letter, then up to 15 lower-case letters or digits"
    [[ $STATE_ROOT =~ ^/[A-Za-z0-9._/-]+$ && ! $STATE_ROOT/ =~ ^/(run|var/run|dev|sys|proc)/ ]] ||
        die "WHERRY_MACHINES must be an absolute path of plain characters, on a disk"
}

machine_address() { echo "$LAN.${NUMBERS[$1]}"; }

# A MAC made from the address: after a reboot the neighbours' ARP entries stay true.
machine_mac() { printf '02:97:0a:61:07:%02x' "${NUMBERS[$1]}"; }

# state_make: the files that all machines of this set share. Those that are there stay.
state_make() {
    mkdir -p "$IMAGES"
    install -d -m 700 "$STATE"
    [[ -e $STATE/key ]] || ssh-keygen -q -t ed25519 -N '' -C "$PROGRAM" -f "$STATE/key"
    ssh_settings > "$STATE/ssh_config"
    podman_settings > "$STATE/podman.conf"
    inner_settings > "$STATE/containers.conf"
}

ssh_settings() {
    local machine
    for machine in "${MACHINES[@]}"; do
        printf 'Host %s\n    HostName %s\n' "$machine" "$(machine_address "$machine")"
    done
    cat <<CONF
Host *
    User root
    IdentityFile $STATE/key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 5
    ServerAliveInterval 5
CONF
}

# For the Podman that runs the machines.
podman_settings() {
    cat <<CONF
[containers]
$(podman_limits)
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "$STATE/podman/networks"
CONF
}

# For Podman in the machines: what Debian's defaults would be on a machine that is no container.
inner_settings() {
    cat <<CONF
[containers]
$(podman_limits)
[engine]
$(cgroup_v2 || echo 'runtime = "runc"')
cgroup_manager = "systemd"
events_logger = "file"
exit_command_delay = 10
CONF
}

# storage_settings STORE...: where Podman keeps the machines, and where it finds their images.
storage_settings() {
    cat <<CONF
[storage]
driver = "overlay"
graphroot = "$STATE/podman/storage"
runroot = "/run/containers/storage"
[storage.options]
additionalimagestores = [$(printf '"%s", ' "$@")]
CONF
}

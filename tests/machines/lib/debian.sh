# shellcheck shell=bash
# A Debian in a directory, as the images of machines and of guests begin. Its caller runs it in a
# mount namespace of its own.

# The keys of all releases, also of those that are newer than the host's.
KEYS=/usr/share/keyrings/debian-archive-keyring.gpg

# install_debian WORK SUITE MIRROR PACKAGES: into WORK/tree. Debian merges /usr in both releases;
# without the hook mmdebstrap would do it twice in the older.
install_debian() {
    local work=$1 suite=$2 mirror=$3 packages=$4
    mmdebstrap --mode=root --variant=minbase --include="$packages" --aptopt="$work/apt.conf" \
        --dpkgopt=force-unsafe-io --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr \
        "$suite" "$work/tree" "deb [signed-by=$KEYS] $mirror $suite main"
    rm -f "$work/tree/etc/apt/apt.conf.d/99mmdebstrap" "$work/tree/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
}

# forget_identity TREE: whatever names a machine is its own, made at its first boot.
forget_identity() {
    local tree=$1
    : > "$tree/etc/machine-id"
    rm -f "$tree/etc/hostname" "$tree"/etc/ssh/ssh_host_*
    mkdir -p "$tree/var/lib/dbus"
    ln -sf /etc/machine-id "$tree/var/lib/dbus/machine-id"
    cat > "$tree/etc/systemd/system/ssh-host-keys.service" <<'UNIT'
[Unit]
Description=Makes the host keys of ssh at the first boot
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
[Install]
WantedBy=multi-user.target
UNIT
    mkdir -p "$tree/etc/systemd/system/multi-user.target.wants"
    ln -s ../ssh-host-keys.service "$tree/etc/systemd/system/multi-user.target.wants/"
}

#!/usr/bin/env bash
# What a QEMU guest boots from: a Debian 12 with Debian's own defaults, built when the cache lacks
# it. Argument: a directory, which gets `disk`, the guest's own, and `vmlinuz`, `initrd` and `key`,
# by which ssh lets in whoever made it. Nothing is mounted but what mmdebstrap asks for.
set -euo pipefail

HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
DEPLOY=$HERE/../../deploy/lib
PROGRAM=tests/machines/lib/guest.sh
# shellcheck source=deploy/lib/common.sh
source "$DEPLOY/common.sh"
# shellcheck source=deploy/lib/environment.sh
source "$DEPLOY/environment.sh"
# shellcheck source=deploy/lib/install.sh
source "$DEPLOY/install.sh"
# shellcheck source=tests/machines/lib/settings.sh
source "$HERE/lib/settings.sh"
# shellcheck source=tests/machines/lib/image.sh
source "$HERE/lib/image.sh"

# COMMAND:PACKAGE, what the host needs.
GUEST_NEEDED=(qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mke2fs:e2fsprogs
    ssh:openssh-client ssh-keygen:openssh-client setpriv:util-linux)
# A server as it is installed, and a busybox for the demo. What Wherry needs comes from a bundle.
GUEST_PACKAGES=("${SERVER_PACKAGES[@]}" linux-image-cloud-amd64 initramfs-tools apparmor
    busybox-static)
DISK_SIZE=8G

guest_packages() { (IFS=,; echo "${GUEST_PACKAGES[*]}"); }

guest_key() {
    { guest_packages; cat "$HERE/lib/debian.sh" "$HERE/lib/guest_build.sh"; } | sha256sum |
        sed 's/\(.\{16\}\).*/guest12-\1/'
}

# guest_image IMAGE: it is there.
guest_image() {
    local image=$1
    rm -rf "$IMAGES"/build.*                 # what an interrupted build left
    [[ -d $image ]] || busy "building Debian 12 for a guest (minutes, the first time)" \
        guest_build "$image" || die "could not build it: $(tail -qn 2 "$IMAGES"/build.*/log)"
    touch "$image"
}

guest_build() {                              # IMAGE
    local work
    work=$(mktemp -d "$IMAGES/build.guest.XXXXXX")
    chmod 755 "$work"                        # apt fetches as a user of its own
    apt_settings > "$work/apt.conf"
    unshare --mount --propagation private bash "$HERE/lib/guest_build.sh" "$work" "${SUITES[12]}" \
        "$MIRROR" "$(guest_packages)" "$DISK_SIZE" > "$work/log" 2>&1 || return
    mv "$work/image" "$1"
    rm -rf "$work"
}

main() {
    local image
    [[ $# == 1 ]] || die "needs the directory of a guest"
    check_settings
    mkdir -p "$IMAGES"
    # shellcheck disable=SC2034  # install_packages reads it
    NEEDED=("${GUEST_NEEDED[@]}")
    install_packages
    image=$IMAGES/$(guest_key)
    alone "$IMAGES" guest_image "$image"
    mkdir -p "$1"
    cp --sparse=always "$image"/* "$1"
}

main "$@"

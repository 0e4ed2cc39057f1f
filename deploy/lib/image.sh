# shellcheck shell=bash
# The demo image, built here from the host's busybox and put into a store that every machine's
# Podman reads (additionalimagestores): no registry, no copy per machine. Needs common.sh and
# podman_settings of machines.sh.

# Tagged `latest`, which Kubernetes pulls unless told otherwise, and `1`, which it does not.
DEMO_IMAGE=localhost/wherry-demo
DEMO_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/../demo" && pwd)

image_stamp() { cat "$(type -P busybox)" "$DEMO_DIR"/* "${BASH_SOURCE[0]}" | sha256sum; }

# The tree that the image is made of: busybox under all its names, and the program that serves.
image_tree() {                               # DIRECTORY
    local name
    mkdir -p "$1/root/bin" "$1/root/etc" "$1/root/proc" "$1/root/sys" "$1/root/dev"
    mkdir -m 1777 "$1/root/tmp"
    cp "$(type -P busybox)" "$1/root/bin/busybox"
    for name in $("$1/root/bin/busybox" --list); do
        [[ $name == busybox ]] || ln -s busybox "$1/root/bin/$name"
    done
    cp "$DEMO_DIR/serve" "$1/root/bin/serve"
    cp "$DEMO_DIR/Containerfile" "$1/Containerfile"
}

# Podman's own locks and run directory stay in a mount namespace that ends with the build.
image_build() {
    local work
    mkdir -p "$STATE_ROOT"
    [[ $(cat "$IMAGES/stamp" 2>/dev/null) != "$(image_stamp)" ]] || return 0
    work=$(mktemp -d "$STATE_ROOT/build.XXXXXX")
    mkdir "$work/settings" "$work/tree"
    image_tree "$work/tree"
    podman_settings "$work/settings"
    # shellcheck disable=SC2016  # the inner shell expands
    CONTAINERS_CONF=$work/settings/containers.conf TMPDIR=$work unshare --mount sh -ec '
        mount -t tmpfs tmpfs /run
        mount -t tmpfs tmpfs /dev/shm
        exec podman --root "$1/images" --runroot /run/storage --storage-driver overlay \
            build --quiet --isolation chroot --tag "$2" --tag "$2:1" "$1/tree"
    ' sh "$work" "$DEMO_IMAGE" > "$work/log" 2>&1 9>&- ||
        die "the demo image was not built: $(tail -n 3 "$work/log")"
    image_stamp > "$work/images/stamp"
    rm -rf "$IMAGES"
    mv "$work/images" "$IMAGES"
    rm -rf "$work"
}

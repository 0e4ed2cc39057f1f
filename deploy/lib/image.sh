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

# image_build: the image's store is there, and this cluster's new machines get it.
image_build() {
    mkdir -p "$IMAGES" "$STATE"
    alone "$IMAGES" image_store
}

# A store is never changed: containers' file systems lie over it. Each stamp has its own.
image_store() {
    local stamp
    stamp=$(image_stamp | cut -d ' ' -f 1)
    if [[ ! -d $IMAGES/$stamp ]]; then
        rm -rf "$STATE_ROOT"/build.*         # what an interrupted build left
        image_make "$IMAGES/$stamp"
    fi
    echo "$stamp" > "$STATE/image-store"
    image_stores_tidy
}

# Removes the stores that belong to no cluster and no machine, running or not.
image_stores_tidy() {
    local store
    for store in "$IMAGES"/*; do
        grep -qx "${store##*/}" "$STATE_ROOT"/*/image-store \
            "$STATE_ROOT"/*/*/settings/image-store 2>/dev/null || rm -rf "$store"
    done
}

# Podman's own locks and run directory stay in a mount namespace that ends with the build.
image_make() {                               # STORE
    local work
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
        die "could not build the demo image: $(tail -n 3 "$work/log")"
    mv "$work/images" "$1"
    rm -rf "$work"
}

# shellcheck shell=bash
# The machines' images: Debian as a server has it, and the packages that Wherry asks for. Each is a
# read-only store of Podman's below $IMAGES, named by what it was made from, so that a changed list
# makes a new image and an unchanged one costs nothing. Needs settings.sh.

MIRROR=http://deb.debian.org/debian
declare -A SUITES=([12]=bookworm [13]=trixie)
SERVER_PACKAGES=(systemd systemd-sysv libpam-systemd dbus openssh-server python3 python3-apt
    ca-certificates iproute2 iputils-ping procps kmod curl)
# The machines have no way to a mirror. Debian's etcd runs by itself: an installer must find it.
WHERRY_PACKAGES=(podman netavark catatonit runc crun nftables iptables conntrack etcd-server
    busybox-static util-linux python3-venv etcd-client)

image_packages() { (IFS=,; echo "${SERVER_PACKAGES[*]},${WHERRY_PACKAGES[*]}"); }
image_tag() { echo "localhost/wherry-machine:$(image_key "$1")"; }           # RELEASE

image_key() {                                # RELEASE
    local made_by=("$HERE/lib/debian.sh" "$HERE/lib/build.sh" "$HERE/lib/init.sh")
    { image_packages; cat "${made_by[@]}"; } | sha256sum | sed "s/\(.\{16\}\).*/debian$1-\1/"
}

# images_get MACHINE...: the stores of these machines are there, and this set's Podman reads them.
images_get() {
    local machine key
    local -a releases stores
    # shellcheck disable=SC2153  # RELEASES is of settings.sh
    readarray -t releases < <(for machine; do echo "${RELEASES[$machine]}"; done | sort -u)
    alone "$IMAGES" images_make "${releases[@]}"
    {
        cat "$STATE/stores" 2>/dev/null || true          # older machines keep theirs
        for key in "${releases[@]}"; do image_key "$key"; done
    } | sort -u > "$STATE/stores.new"
    mv "$STATE/stores.new" "$STATE/stores"
    readarray -t stores < <(sed "s|^|$IMAGES/|" "$STATE/stores")
    storage_settings "${stores[@]}" > "$STATE/storage.conf"
}

# images_make RELEASE...: builds what is missing, all at once: most of the time goes into unpacking.
images_make() {
    local release
    local -a missing=()
    rm -rf "$IMAGES"/build.*                 # what an interrupted build left
    for release; do
        [[ -d $IMAGES/$(image_key "$release") ]] || missing+=("$release")
    done
    ((${#missing[@]} == 0)) || busy "building Debian ${missing[*]} (minutes, the first time)" \
        images_build "${missing[@]}" || die "could not build an image: $(tail -qn 2 "$IMAGES"/build.*/log)"
    for release; do touch "$IMAGES/$(image_key "$release")"; done
    images_tidy
}

images_build() {                             # RELEASE...
    local release job result=0
    local -a jobs=()
    for release; do
        image_build "$release" & jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || result=1; done
    return "$result"
}

image_build() {                              # RELEASE
    local work key
    key=$(image_key "$1")
    work=$(mktemp -d "$IMAGES/build.$1.XXXXXX")
    chmod 755 "$work"                        # apt fetches as a user of its own
    podman_settings > "$work/podman.conf"
    apt_settings > "$work/apt.conf"
    CONTAINERS_CONF=$work/podman.conf TMPDIR=$work unshare --mount --propagation private \
        bash "$HERE/lib/build.sh" "$work" "${SUITES[$1]}" "$MIRROR" "$(image_packages)" \
        "$(image_tag "$1")" > "$work/log" 2>&1 9>&- || return
    mv "$work/store" "$IMAGES/$key"
    rm -rf "$work"
}

# The way to the mirrors is the host's.
apt_settings() { apt-config dump | grep -E '^Acquire::(http|https|Check-)' || true; }

# Removes images that nobody has asked for in two weeks.
images_tidy() {
    local store
    while read -r store; do
        grep -qsx "${store##*/}" "$STATE_ROOT"/*/stores || rm -rf "$store"
    done < <(find "$IMAGES" -mindepth 1 -maxdepth 1 -mtime +14)
}

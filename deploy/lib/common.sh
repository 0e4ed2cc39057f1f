# shellcheck shell=bash
# Words to the user, waiting, and the names that every part of deploy/local shares.

# shellcheck disable=SC2034  # the files that source this one read them
{
    NAME=${WHERRY_LOCAL_NAME:-wherry}
    LAN=${WHERRY_LOCAL_LAN:-10.89.0}
    HOST_STATE=/var/lib/wherry-local
    STATE_ROOT=${WHERRY_LOCAL_STATE:-$HOST_STATE}
    STATE=$STATE_ROOT/$NAME                  # this cluster's data, gone after `down`
    # Read-only image stores, shared and kept; no cluster can have this name.
    IMAGES=$STATE_ROOT/image-stores
    RUN_ROOT=/run/wherry-local
    VENV=${WHERRY_VENV:-$(readlink -m "${BASH_SOURCE[0]}/../../../.venv")}
    # What every machine has for itself, besides /run, /tmp, /dev/shm and /sys.
    PRIVATE_DIRS=(/var/lib/wherry /etc/wherry /var/lib/containers /var/log/pods /var/log/wherry)
    # Which of them were made on the host: for all clusters, whatever their state's root, and kept
    # over a reboot.
    MOUNT_POINTS=$HOST_STATE/mount-points
    RUN=$RUN_ROOT/$NAME                      # this cluster's life: pids, pins, every machine's /run
}

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${PROGRAM:-deploy/local}" "$*" >&2; exit 1; }
counted() { [[ $1 == 1 ]] && echo "1 $2" || echo "$1 $2s"; }    # COUNT NOUN

# One line of progress: what happens now, and how many seconds after the start.
step() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

# wait_for SECONDS WHAT COMMAND...: runs COMMAND until it succeeds; a dot for every second.
wait_for() {
    local limit=$1 what=$2 begin=$SECONDS dots=0
    shift 2
    printf '%4ds  waiting for %s ' "$SECONDS" "$what"
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS - begin >= limit)); then
            printf ' gave up after %d s\n' "$limit"
            return 1
        fi
        while ((dots < SECONDS - begin)); do
            printf .
            dots=$((dots + 1))
        done
        sleep 0.2
    done
    printf ' ok\n'
}

# busy WHAT COMMAND...: runs it in one line of progress, with a dot for every second.
busy() {
    local what=$1 result=0 ticker
    shift
    printf '%4ds  %s ' "$SECONDS" "$what"
    # It ends with this shell, however that ends, and holds no lock meanwhile.
    (while sleep 1 && kill -0 $$; do printf .; done) 2>/dev/null 8>&- 9>&- &
    ticker=$!
    "$@" || result=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    [[ $result == 0 ]] && printf ' ok\n' || printf ' failed\n'
    return "$result"
}

# logged FILE COMMAND...: what it prints goes to the file.
logged() {
    local file=$1
    shift
    "$@" > "$file" 2>&1
}

# alone DIRECTORY COMMAND...: runs it while no other of these programs does so for this directory.
alone() {
    local dir=$1
    shift
    exec 8< "$dir"
    flock -n 8 || { step "waiting for another ${PROGRAM:-deploy/local}" && flock 8; }
    "$@" 8<&-
    exec 8<&-
}

check_names() {
    [[ $NAME =~ ^[a-z][a-z0-9]{0,7}$ ]] ||
        die "WHERRY_LOCAL_NAME must be a lower-case letter, then up to 7 lower-case letters or digits"
    [[ $LAN =~ ^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$ ]] ||
        die "WHERRY_LOCAL_LAN must be the first three numbers of a /24, such as 10.89.0"
    [[ $STATE_ROOT == /* ]] || die "WHERRY_LOCAL_STATE must be an absolute path"
}

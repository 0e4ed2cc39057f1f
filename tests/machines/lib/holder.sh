# shellcheck shell=bash
# The holder: one sleeping process whose mount and network namespaces hold all that the machines
# need. The host gets no mount, link, address or rule, and when the holder and the machines are
# gone, so is everything else. Needs settings.sh.
#
# Whatever runs inside has WHERRY_MACHINES_HOLDER=$STATE in its environment, and can be found by it.

MARK=WHERRY_MACHINES_HOLDER

holder_pid() {
    local pid
    pid=$(cat "$STATE/holder" 2>/dev/null) || return 1
    [[ -n $pid ]] && marked "$pid" && echo "$pid"
}

# marked PID: it runs in this set's holder, and not on the host on its way there.
marked() {
    grep -qzsxF "$MARK=$STATE" "/proc/$1/environ" && ! [[ /proc/$1/ns/mnt -ef /proc/self/ns/mnt ]]
}

holder_up() {
    ! holder_pid >/dev/null || return 0
    leftovers_kill
    rm -f "$STATE"/*/pid "$STATE/holder"
    mkdir -p "$STATE/podman/host"
    env "$MARK=$STATE" setsid unshare --mount --net --propagation private \
        bash "$HERE/lib/hold.sh" "$STATE" "$LAN" < /dev/null > "$STATE/holder.log" 2>&1 9>&- &
    disown $!
    wait_for 20 "a LAN" holder_pid || die "the holder did not start: $(tail -n 2 "$STATE/holder.log")"
}

# in_holder COMMAND...: runs it in the holder's namespaces.
in_holder() {
    local pid
    pid=$(holder_pid) || die "the machines are not up; $PROGRAM up makes them"
    env "$MARK=$STATE" nsenter --target "$pid" --mount --net --wd="$PWD" -- "$@" 9>&-
}

# podman ...: the one that runs the machines.
podman() {
    in_holder env "CONTAINERS_CONF=$STATE/podman.conf" "CONTAINERS_STORAGE_CONF=$STATE/storage.conf" \
        podman "$@"
}

# ---------------------------------------------------------------------------------- the end

# The cgroups of this set, in every hierarchy: on a hybrid host runc makes some in the unified one.
cgroup_dirs() { find /sys/fs/cgroup -maxdepth 3 -type d -path "*/$CGROUP" 2>/dev/null || true; }

# Every process of the set: the machines' by their cgroups, and all that share a namespace with
# whatever is marked.
leftovers() {
    local pid marked=""
    while IFS=/ read -r _ _ pid _; do
        ! marked "$pid" || marked+=" $pid"
    done < <(grep -lzsxF "$MARK=$STATE" /proc/[0-9]*/environ)
    {
        processes_in "$(namespaces_of "$marked")"
        cgroup_dirs | xargs -I@ find @ -name cgroup.procs -exec cat {} +
    } 2>/dev/null | sort -u | grep . || true
}

# leftovers_kill: returns when they have ended.
leftovers_kill() {
    local -a pids
    local deadline=$((SECONDS + 30))
    while readarray -t pids < <(leftovers) && ((${#pids[@]})); do
        ((SECONDS < deadline)) || die "processes do not end: ${pids[*]}"
        kill -KILL "${pids[@]}" 2>/dev/null || true
        sleep 0.05
    done
}

# machines_down: removes all, whatever is left of it, and proves it.
machines_down() {
    local left tries
    leftovers_kill
    for ((tries = 0; tries < 100; tries++)); do          # the last process takes a moment to go
        cgroup_dirs | xargs -I@ find @ -depth -type d -exec rmdir {} + 2>/dev/null || true
        rm -rf --one-file-system "$STATE" 2>/dev/null || true
        left=$(leftovers; cgroup_dirs; find "$STATE" -maxdepth 0 2>/dev/null || true)
        [[ -n $left ]] || break
        sleep 0.05
    done
    [[ -z $left ]] || die "something is left: ${left//$'\n'/ }"
    cgroup_parents_remove
    say "gone: no process, namespace, mount, cgroup or data of $NAME is left"
}

# Those of other sets keep them.
cgroup_parents_remove() {
    find /sys/fs/cgroup -maxdepth 2 -type d -name "${CGROUP%/*}" -exec rmdir {} + 2>/dev/null || true
}

# shellcheck shell=bash
# Virtual environments that are whole or made again. A mark is there from before the first file until
# the stamp tells what the environment was made from, so whatever was interrupted, at any moment, is
# known to be unfinished. Needs common.sh.

# The first Python that is new enough and can make virtual environments; $PYTHON comes first.
python_found() {
    local name
    for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        [[ -n $name ]] || continue
        if "$name" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            type -P "$name"
            return
        fi
    done
}

environment_works() { "$1/bin/python" -m pip --version >/dev/null 2>&1; }    # VENV

# environment_current VENV STAMP: it was made from this, to the end, and its Python is still there.
environment_current() {
    [[ ! -e $1/wherry-unfinished && $(cat "$1/wherry-stamp" 2>/dev/null) == "$2" ]] &&
        "$1/bin/python" -c ''
} 2>/dev/null

# environment_make VENV STAMP COMMAND...: COMMAND installs into it. One that was not made here is
# never emptied.
environment_make() {
    local venv=$1 stamp=$2 mark=$1/wherry-unfinished
    shift 2
    mkdir -p "$venv"
    if [[ -e $mark || -e $venv/wherry-stamp || -z $(ls -A "$venv") ]]; then
        if [[ -e $mark ]] || ! environment_works "$venv"; then
            touch "$mark"
            find "$venv" -mindepth 1 ! -path "$mark" -delete
        fi
        touch "$mark"
    fi
    rm -f "$venv/wherry-stamp"
    environment_works "$venv" || "$(python_found)" -m venv "$venv" ||
        die "could not make a virtual environment in $venv"
    "$@" || return
    echo "$stamp" > "$venv/wherry-stamp"
    rm -f "$mark"
}

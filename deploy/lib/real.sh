# shellcheck shell=bash
# The programs of Wherry on a machine that systemd runs: what deploy/install and deploy/uninstall
# share. Needs common.sh, environment.sh and install.sh.

PROGRAMS=/opt/wherry

# The first Python that is new enough; it need not be able to make virtual environments yet.
python_plain() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            type -P "$name"
            return
        fi
    done
    die "there is no Python 3.11 or newer: apt-get install python3-venv"
}

# from_checkout PYTHON VERB...: deploy.machine as it is in this checkout, in which nothing is written.
from_checkout() {
    local python=$1
    shift
    PYTHONPATH=$ROOT PYTHONDONTWRITEBYTECODE=1 "$python" -P -m deploy.machine "$@"
}

packages_install() {                         # PACKAGE...
    local log
    [[ -n ${1:-} ]] || return 0
    [[ -n $(type -P apt-get) ]] || die "missing packages, and no apt-get to install them: $*"
    policy_clear                             # an earlier run may have been killed
    log=$(mktemp)
    busy "installing $*" logged "$log" apt_install "$@" ||
        die "apt-get failed (full log: $log): $(tail -n 2 "$log")"
    rm "$log"
}

# programs_place WHEELHOUSE -> the directory of this version, a new one for each change of its sources.
programs_place() {
    local wheel stamp version
    if [[ -n $1 ]]; then
        wheel=$(find "$1" -maxdepth 1 -name 'wherry-*.whl' 2>/dev/null | sort -V | tail -n 1)
        [[ -n $wheel ]] || die "$1 holds no wheel of Wherry: make wheelhouse"
        version=${wheel##*/wherry-}
        version=${version%%-*}
        stamp=$(sha256sum < "$wheel")
    else
        version=$(sed -n 's/^version = //p' "$ROOT/setup.cfg")
        stamp=$(source_stamp)
    fi
    echo "$PROGRAMS/$version-${stamp:0:8}"
}

programs_install() {                         # VENV WHEELHOUSE
    local venv=$1 wheelhouse=$2 log
    ! environment_current "$venv" "$venv" || return 0
    mkdir -p "$venv"
    log=$venv/wherry-install.log
    busy "installing Wherry into $venv" environment_make "$venv" "$venv" \
        logged "$log" programs_come "$venv" "$wheelhouse" ||
        die "pip failed (full log: $log): $(tail -n 2 "$log")"
}

programs_come() {                            # VENV WHEELHOUSE
    local -a pip=("$1/bin/python" -m pip install --quiet --disable-pip-version-check)
    if [[ -n $2 ]]; then
        "${pip[@]}" --no-index --find-links "$2" wherry
    else
        rm -rf "$ROOT/build/lib"             # what an earlier build left would be installed too
        "${pip[@]}" "$ROOT"
    fi
}

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

# A bundle (deploy/bundle) holds the sums of its files, wheels and distribution packages; a checkout
# does not.
is_bundle() { [[ -e $ROOT/SHA256SUMS ]]; }

# from_checkout PYTHON VERB...: deploy.machine as it is in this checkout, in which nothing is written,
# or in the bundle's wheel.
from_checkout() {
    local python=$1 place=$ROOT
    shift
    ! is_bundle || place=$(wheel_of "$ROOT/wheels")
    PYTHONPATH=$place PYTHONDONTWRITEBYTECODE=1 "$python" -P -m deploy.machine "$@"
}

wheel_of() { find "$1" -maxdepth 1 -name 'wherry-*.whl' 2>/dev/null | sort -V | tail -n 1; }

packages_install() {                         # PACKAGE...
    local work log debs
    [[ -n ${1:-} ]] || return 0
    [[ -n $(type -P apt-get) ]] || die "missing packages, and no apt-get to install them: $*"
    policy_clear                             # an earlier run may have been killed
    work=$(mktemp -d)
    log=$work/log
    debs=$(debs_of_bundle)
    [[ -z $debs ]] || bundle_apt "$work" "$debs"
    busy "installing $*" logged "$log" apt_install "$@" ||
        die "apt-get failed (full log: $log): $(tail -n 2 "$log")"
    rm -r "$work"
}

# The directory of the bundle's packages for this machine's release, if there is one.
debs_of_bundle() {
    local release
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    [[ ! -e $ROOT/debs/$release/Packages ]] || echo "$ROOT/debs/$release"
}

# bundle_apt WORK DEBS: from now on apt knows these packages, and no others.
bundle_apt() {
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
    # Files of root's are read as root. That they are whole is known.
    echo "deb [trusted=yes] copy:$2 ./" > "$1/sources.list"
    cat > "$1/apt.conf" <<CONF
Dir::Etc::SourceList "$1/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$1/lists";
Dir::Cache "$1/cache";
APT::Sandbox::User "root";
CONF
    export APT_CONFIG=$1/apt.conf
}

# programs_place WHEELHOUSE -> the directory of this version, a new one for each change of its sources.
programs_place() {
    local wheel stamp version
    if [[ -n $1 ]]; then
        wheel=$(wheel_of "$1")
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
        die "it cannot be installed, nothing has changed (full log: $log): $(tail -n 1 "$log")"
}

# programs_run FORMER VENV WORD...: the programs that are current become those of VENV. Those of
# FORMER, which were it, become it again when the others do not get ready; else those from before
# go.
programs_run() {
    local former=$1 venv=$2 result=0
    shift 2
    "$venv/bin/python" -I -m deploy.machine install --programs "$venv" "$@" || result=$?
    if [[ $result == 0 ]]; then
        [[ -z $former || $former == "$venv" ]] ||
            "$venv/bin/python" -I -m deploy.machine prune "$former" "$venv"
        return
    fi
    if [[ $result != 1 || -z $former || $former == "$venv" || $(current) != "$venv" ]]; then
        exit "$result"
    fi
    step "going back to $former"
    "$former/bin/python" -I -m deploy.machine install --programs "$former" "$@" >/dev/null ||
        die "$venv did not get ready, and neither did $former"
    die "$venv did not get ready: $former runs again"
}

current() { readlink "$PROGRAMS/current" || true; }

# programs_prove VENV: what was installed can start, before anything runs it.
programs_prove() {
    local program
    for program in wherry wherry-master wherry-kubelet wherry-kube-proxy; do
        "$1/bin/$program" --help >/dev/null || return
    done
}

programs_come() {                            # VENV WHEELHOUSE
    local -a pip=("$1/bin/python" -m pip install --quiet --disable-pip-version-check)
    if [[ -n $2 ]]; then
        "${pip[@]}" --no-index --find-links "$2" wherry || return
    else
        rm -rf "$ROOT/build/lib"             # what an earlier build left would be installed too
        "${pip[@]}" "$ROOT" || return
    fi
    programs_prove "$1"
}

#!/usr/bin/env bash
# Installs this package, editable, with all it needs: local/install.sh [VENV [PYTHON]]
#
# VENV is the virtual environment to make (.venv); PYTHON the interpreter to make it from
# (found by find_python.sh, else brought by uv). Does nothing where VENV is up to date.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(realpath -m "${1:-.venv}")
python=${2:-}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
stamp=${venv}/.installed # written last; holds the state that VENV agrees with
bootstrap=${venv}.uv     # where uv goes when there is no Python yet to make VENV from

log() { echo "install: $*"; }
fail() {
    echo "install: error: $*" >&2
    exit 1
}

state() {
    echo "folder ${PWD}" # the scripts in VENV hold its path
    cksum setup.py pyproject.toml constraints/lock.txt
}

same_python() {
    [[ -z ${python} || $(readlink -f "${venv}/bin/python") == $(readlink -f "${python}") ]]
}

keep_or_remove_venv() {
    if [[ -f ${stamp} && $(head -n 1 "${stamp}") == "folder ${PWD}" ]] && same_python &&
        "${venv}/bin/python" -c ''; then
        [[ $(<"${stamp}") != "$(state)" ]] || exit 0
    elif [[ -e ${venv} ]]; then
        [[ -f ${venv}/pyvenv.cfg ]] ||
            fail "${venv} exists and is not a virtual environment; move it away"
        rm -rf "${venv}"
    fi
}

use_private_cache_if_needed() { # a read-only or missing home must not stop anything
    local cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}
    if ! mkdir -p "${cache}/uv" 2>/dev/null || [[ ! -w ${cache}/uv ]]; then
        XDG_CACHE_HOME=$(mktemp -d "${venv}.cache.XXXXXX")
        export XDG_CACHE_HOME
        trap 'rm -rf "${XDG_CACHE_HOME}"' EXIT
    fi
}

bring_python() { # by uv, itself on PATH or installed by any Python 3 that has pip
    log "no installed Python fits (see above); asking uv for Python 3.12"
    local uv
    uv=$(command -v uv) || {
        python3 -m pip install --quiet --upgrade --target "${bootstrap}" uv ||
            fail "no uv on PATH, and pip could not install it; install Python 3.12 with" \
                "its venv module and headers, or uv, and run this again"
        uv=${bootstrap}/bin/uv
    }
    "${uv}" venv --quiet --python 3.12 --python-preference only-managed "${venv}" ||
        fail "uv could not bring Python 3.12; install it with its venv module and" \
            "headers, and run this again"
}

make_venv() {
    if [[ -n ${python} ]]; then
        "${python}" -m venv "${venv}" ||
            fail "PYTHON=${python} cannot make virtual environments (on Debian:" \
                "apt install python3-venv)"
    elif python=$(local/find_python.sh); then
        "${python}" -m venv "${venv}"
    else
        bring_python
    fi
    echo "folder ${PWD}" >"${stamp}"
}

find_uv() {
    uv=$(command -v uv || command -v "${bootstrap}/bin/uv" ||
        command -v "${venv}/bin/uv") || {
        "${venv}/bin/python" -m pip install --quiet uv ||
            fail "pip could not install uv; is the package index within reach?"
        uv=${venv}/bin/uv
    }
}

bring_compiler() { # PESQ comes as C sources
    if [[ -z ${CC:-} ]] && ! command -v gcc >/dev/null; then
        log "no gcc found; PESQ is compiled by the ziglang package"
        "${uv}" pip install --quiet ziglang
        export ZIG_GLOBAL_CACHE_DIR=${venv}.zig # it hangs where it cannot write to it
        export CC="${venv}/bin/python -m ziglang cc"
        export CXX="${venv}/bin/python -m ziglang c++"
    fi
}

if [[ -n ${python} ]]; then
    python=$(command -v "${python}") || fail "PYTHON=${2} is not a program"
fi
keep_or_remove_venv
use_private_cache_if_needed
[[ -d ${venv} ]] || make_venv
log "$("${venv}/bin/python" --version) in ${venv}"
find_uv
export VIRTUAL_ENV=${venv}
bring_compiler
"${uv}" pip install --quiet --editable ".[test,mini,whamr,espnet3]" --constraint constraints/lock.txt ||
    fail "uv could not install the packages; its message is above"
rm -rf "${bootstrap}" "${venv}.zig"
state >"${stamp}.new"
mv "${stamp}.new" "${stamp}"
log "done in ${SECONDS} s"

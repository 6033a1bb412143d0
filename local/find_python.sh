#!/usr/bin/env bash
# Prints the path of the Python to install into: local/find_python.sh [MINOR...]
#
# The first of 3.MINOR (12, 13, 11, 10 unless told) that is complete: it can make virtual
# environments and has the C headers that PESQ is compiled against. Looks on PATH, then
# in pyenv's versions. Exit status 1 with the reasons on stderr where there is none.
set -euo pipefail

minors=("$@")
[[ $# -gt 0 ]] || minors=(12 13 11 10)

# Written for any Python, 2.7 included: prints "MINOR PATH" or what is wrong with it.
probe='
import os, sys, sysconfig
path = getattr(sys, "_base_executable", None) or sys.executable
version = "Python %d.%d" % sys.version_info[:2]
if sys.version_info[0] != 3:
    sys.exit("%s: %s" % (path, version))
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit("%s: %s without the GIL" % (path, version))
try:
    import ensurepip, venv
except ImportError:
    sys.exit("%s: %s lacks venv or ensurepip (Debian: apt install python3-venv)"
             % (path, version))
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    sys.exit("%s: %s lacks the headers (Debian: apt install python3-dev)"
             % (path, version))
print("%d %s" % (sys.version_info[1], path))
'

list_pyenv_roots() {
    echo "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}"
    tr ':' '\n' <<<"${PATH}" | sed -n 's|/shims/*$||p'
}

list_candidates() {
    for minor in "${minors[@]}"; do
        type -aP "python3.${minor}" || true
        list_pyenv_roots | while read -r root; do
            compgen -G "${root}/versions/3.${minor}.*/bin/python" || true
        done
    done
    type -aP python3 python || true
}

mapfile -t candidates < <(list_candidates | awk '!seen[$0]++')
complete=()
reasons=()
for candidate in "${candidates[@]}"; do
    # A pyenv shim exists for versions that are not active and then only fails.
    if answer=$("${candidate}" -E -s -c "${probe}" 2>&1); then
        complete+=("${answer}")
    else
        reasons+=("${answer##*$'\n'}")
    fi
done

for minor in "${minors[@]}"; do
    for found in "${complete[@]}"; do
        if [[ ${found%% *} == "${minor}" ]]; then
            echo "${found#* }"
            exit 0
        fi
    done
done
{
    echo "no usable Python 3.x, x = ${minors[*]}, on PATH or in pyenv; looked at:"
    for found in "${complete[@]}"; do
        echo "  ${found#* }: Python 3.${found%% *}"
    done
    for reason in "${reasons[@]}"; do
        echo "  ${reason}"
    done
} >&2
exit 1

# shellcheck shell=bash
# Finds the installed package; sourced by the stage script in this folder.
MAIN_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
if ! command -v bspmpnet >/dev/null && [[ -x ${MAIN_ROOT}/.venv/bin/bspmpnet ]]; then
    PATH=${MAIN_ROOT}/.venv/bin:${PATH}
fi
if ! command -v bspmpnet >/dev/null; then
    echo "path.sh: error: bspmpnet is not installed; run 'make install' in ${MAIN_ROOT}" \
        "or activate the environment that has it" >&2
    exit 1
fi
export PATH PYTHONIOENCODING=UTF-8 PYTHONUNBUFFERED=1

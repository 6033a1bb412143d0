# shellcheck shell=bash
# Finds the installed package; a recipe has a link to it, and its scripts source ./path.sh.
MAIN_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
if ! command -v bspmpnet >/dev/null && [[ -x ${MAIN_ROOT}/.venv/bin/bspmpnet ]]; then
    PATH=${MAIN_ROOT}/.venv/bin:${PATH}
fi
if ! command -v bspmpnet >/dev/null; then
    echo "path.sh: error: bspmpnet is not installed; run 'make install' in ${MAIN_ROOT}" \
        "or activate the environment that has it" >&2
    exit 1
fi
# On a busy machine OpenMP's threads wait for each other spinning, which doubles the time of
# a training step; this short a spin costs nothing on an idle one.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}
export PATH PYTHONIOENCODING=UTF-8 PYTHONUNBUFFERED=1

# shellcheck shell=bash disable=SC2034 # used by the recipes' local/data.sh
# Where corpora are; the environment wins: VCTK_NOISY=/corpora/vctk_noisy ./run.sh

VCTK_NOISY=${VCTK_NOISY:-} # VoiceBank+DEMAND; empty: downloaded to downloads/
WHAMR=${WHAMR:-}           # a generated WHAMR! tree; empty: generated from the next two
WSJ0=${WSJ0:-}             # WSJ0 (LDC93S6A), licensed by the LDC
WHAM_NOISE=${WHAM_NOISE:-} # the WHAM! noise; empty: downloaded to downloads/

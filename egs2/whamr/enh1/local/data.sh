#!/usr/bin/env bash
# Makes data/{tr,cv,tt}_{reverb,noisy,noisy_reverb} and data/{tr,cv}_all, called by stage 1
# in the recipe's folder. db.sh says where corpora are: WHAMR names a generated WHAMR!, else
# it is generated from WSJ0 (licensed) and the WHAM! noise (downloaded unless WHAM_NOISE).
# shellcheck disable=SC2154 # options
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "${root}/local/parse_options.sh"
option mode min "length of mixtures: min (that of the shorter speaker) or max"
option conditions "reverb noisy noisy_reverb" "which to prepare"
option num_train 20000 "utterances that the training set must have"
option num_valid 5000 "utterances that the validation set must have"
option num_test 3000 "utterances that the test set must have"
option corpus_dir corpus "where WHAMR! is generated"
option download_dir downloads "where the noise and the lists are downloaded to"
option lists "" "data/ of WHAMR!'s scripts; empty: downloaded"
option url "" "folder of copies of what is downloaded, such as a mirror"
option nj "$(nproc)" "processes"

parse_options "$@"
# shellcheck source=local/path.sh
. ./path.sh
# shellcheck source=local/db.sh
. ./db.sh

arguments=(
    --mode "${mode}" --nj "${nj}"
    --num_train "${num_train}" --num_valid "${num_valid}" --num_test "${num_test}"
)
if [[ -z ${WHAMR} ]]; then
    if [[ -z ${WSJ0} ]]; then
        fail "neither WHAMR nor WSJ0 is set (in db.sh or the environment)." \
            "WHAMR! cannot be downloaded: it is made of WSJ0, which the Linguistic Data" \
            "Consortium licenses (https://catalog.ldc.upenn.edu/LDC93S6A). Set WSJ0 to its" \
            "folder, and the rest is downloaded and generated; or set WHAMR to a WHAMR!" \
            "that you have, the folder that holds wav16k/."
    fi
    WHAMR=${corpus_dir}
    bspmpnet whamr_generate --whamr_dir "${WHAMR}" --wsj0 "${WSJ0}" "${arguments[@]}" \
        ${WHAM_NOISE:+--wham_noise "${WHAM_NOISE}"} ${lists:+--lists "${lists}"} \
        --download_dir "${download_dir}" ${url:+--url "${url}"}
    WHAM_NOISE=${WHAM_NOISE:-${download_dir}/wham_noise}
fi
bspmpnet whamr --whamr_dir "${WHAMR}" --data_dir data "${arguments[@]}" \
    --conditions "${conditions}" ${WHAM_NOISE:+--wham_noise "${WHAM_NOISE}"}

#!/usr/bin/env bash
# Makes data/{tr,cv,tt}_mini, called by stage 1 in the recipe's folder: a synthesised
# corpus of noisy and clean speech, or your own files:
#   --noisy_dir and --clean_dir   pairs, which are files of equal name in two folders
#   --clean_dir and --noise_dir   clean speech and noises, remixed in each epoch; with
#                                 --rir_dir also rooms
# Without --valid_* and --test_* some are held out for validation and test.
# shellcheck disable=SC2154 # options
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "${root}/local/parse_options.sh"
option corpus_dir corpus "where the synthesised or mixed audio goes"
option seed 0 "of the synthesised corpus, or of the mixtures"
option num_train 600 "synthesised training utterances"
option num_valid 24 "synthesised validation utterances"
option num_test 24 "synthesised test utterances"
option nj "$(nproc)" "processes that synthesise"
option noisy_dir "" "your noisy files; paths are relative to the recipe's folder"
option clean_dir "" "your clean files"
option noise_dir "" "your noises, instead of noisy files"
option rir_dir "" "your room impulse responses, beside noise_dir"
option splits "" "file of '<path> <train|valid|test>' for clean_dir, noise_dir and rir_dir"
option snr_range "0 15" "lowest and highest SNR of mixtures with noise_dir, in dB"
option valid_noisy_dir "" "noisy files for validation"
option valid_clean_dir "" "clean files for validation"
option test_noisy_dir "" "noisy files for the test"
option test_clean_dir "" "clean files for the test"

parse_options "$@"
# shellcheck source=egs2/mini/enh1/path.sh
. ./path.sh

folders=()
for name in {,valid_,test_}{noisy,clean}_dir {noise,rir}_dir splits; do
    [[ -z ${!name} ]] || folders+=("--${name}" "${!name}")
done
sets=(--data_dir data --train_set tr_mini --valid_set cv_mini --test_set tt_mini)
rm -rf data/tr_mini_{noise,rir} # of clean speech and noises given before
if [[ -n ${noise_dir} ]]; then
    [[ -z ${noisy_dir} ]] || fail "--noisy_dir and --noise_dir: give one of the two"
    bspmpnet mixed_corpus "${folders[@]}" "${sets[@]}" --corpus_dir "${corpus_dir}/mixed" \
        --snr_range "${snr_range}" --seed "${seed}"
elif [[ -n ${rir_dir}${splits} ]]; then
    fail "--rir_dir and --splits: give --clean_dir and --noise_dir, too"
elif [[ ${#folders[@]} -gt 0 ]]; then
    bspmpnet pairs_corpus "${folders[@]}" "${sets[@]}"
else
    bspmpnet mini_corpus --corpus_dir "${corpus_dir}" --data_dir data --seed "${seed}" \
        --num_train "${num_train}" --num_valid "${num_valid}" --num_test "${num_test}" \
        --nj "${nj}"
fi

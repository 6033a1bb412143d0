#!/usr/bin/env bash
# Makes data/{tr,cv,tt}_mini, called by stage 1 in the recipe's folder: a synthesised
# corpus of noisy and clean speech or, with --noisy_dir and --clean_dir, your own files.
# Pairs are files of equal name in two folders. Without --valid_* and --test_* some of the
# pairs are held out for validation and test.
# shellcheck disable=SC2034 # the folders' options are used by name
set -euo pipefail

corpus_dir=corpus # where the synthesised audio goes
seed=0 # of the synthesised corpus
num_train=600 # synthesised training utterances
num_valid=24 # synthesised validation utterances
num_test=24 # synthesised test utterances
nj=$(nproc) # processes that synthesise
noisy_dir= # your noisy files; paths are relative to the recipe's folder
clean_dir= # your clean files
valid_noisy_dir= # noisy files for validation
valid_clean_dir= # clean files for validation
test_noisy_dir= # noisy files for the test
test_clean_dir= # clean files for the test

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "${root}/local/parse_options.sh"
# shellcheck source=egs2/mini/enh1/path.sh
. ./path.sh

folders=()
for name in {,valid_,test_}{noisy,clean}_dir; do
    [[ -z ${!name} ]] || folders+=("--${name}" "${!name}")
done
if [[ ${#folders[@]} -gt 0 ]]; then
    bspmpnet pairs_corpus "${folders[@]}" --data_dir data \
        --train_set tr_mini --valid_set cv_mini --test_set tt_mini
else
    bspmpnet mini_corpus --corpus_dir "${corpus_dir}" --data_dir data --seed "${seed}" \
        --num_train "${num_train}" --num_valid "${num_valid}" --num_test "${num_test}" \
        --nj "${nj}"
fi

#!/usr/bin/env bash
# Denoising, dereverberation and both on WHAMR!; see README.md.
#
#   ./run.sh --condition all            train on all three conditions, test on each
#   ./run.sh --condition noisy_reverb   train and test on one: reverb, noisy, noisy_reverb
#
# All other options are those of local/enh.sh (--help).
# shellcheck disable=SC2154 # condition
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=local/parse_options.sh
. "${recipe}/../../../local/parse_options.sh"
option condition all "reverb, noisy, noisy_reverb, or all of them"
parse_own_options "$@"
cd "${recipe}"

config=conf/train_bsp_mpnet_wavlm_large.yaml
case ${condition} in
    reverb | noisy | noisy_reverb) test_sets=tt_${condition} ;;
    all)
        test_sets="tt_reverb tt_noisy tt_noisy_reverb"
        config=conf/train_bsp_mpnet_wavlm_large_all.yaml
        ;;
    *) fail "--condition '${condition}': give reverb, noisy, noisy_reverb or all" ;;
esac

# A folder for each condition, as their training sets differ.
exec ../../../local/enh.sh \
    --train_set "tr_${condition}" \
    --valid_set "cv_${condition}" \
    --test_sets "${test_sets}" \
    --fs 16k \
    --ngpu 1 \
    --gpu_inference true \
    --inference_nj 1 \
    --expdir "exp/${condition}" \
    --enh_config "${config}" \
    --inference_model valid.pesq.best.pth \
    "${other_options[@]}"

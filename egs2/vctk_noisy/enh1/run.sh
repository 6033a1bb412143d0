#!/usr/bin/env bash
# VoiceBank+DEMAND (28 speakers) at 16 kHz, with the paper's configuration; see README.md.
# Speakers p226 and p287 are held out of the training set for validation. Options are those
# of local/enh.sh (--help); what is given here is overridden by what is given to run.sh.
#
#   ./run.sh --ngpu 2                        # as the paper: batch 16 over two GPUs
#   ./run.sh --train_set tr_28spk --enh_args "--scheduler_conf steps_per_epoch=723"  # all 28
#   ./run.sh --enh_config ../../../conf/train_bsp_mpnet_plus.yaml
#   VCTK_NOISY=/corpora/vctk_noisy ./run.sh  # do not download
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

train_set=tr_26spk # tr_28spk without the next
valid_set=cv_2spk  # p226 and p287
test_sets=tt_2spk  # p232 and p257, in noises that the training set has not

exec ../../../local/enh.sh \
    --train_set "${train_set}" \
    --valid_set "${valid_set}" \
    --test_sets "${test_sets}" \
    --fs 16k \
    --lang en \
    --ngpu 1 \
    --gpu_inference true \
    --inference_nj 1 \
    --enh_config ../../../conf/train_bsp_mpnet_wavlm_large.yaml \
    --inference_model valid.pesq.best.pth \
    "$@"

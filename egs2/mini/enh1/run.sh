#!/usr/bin/env bash
# The main job on a small corpus that is synthesised on the spot, or on your own pairs of
# noisy and clean files; see README.md. Options are those of local/enh.sh (--help).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../local/enh.sh \
    --train_set tr_mini \
    --valid_set cv_mini \
    --test_sets tt_mini \
    --fs 16k \
    --ngpu 0 \
    --enh_config conf/train_mini.yaml \
    --inference_model valid.pesq.best.pth \
    "$@"

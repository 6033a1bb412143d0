#!/usr/bin/env bash
# Makes data/{tr_28spk,tr_26spk,cv_2spk,tt_2spk}, called by stage 1 in the recipe's folder:
# VoiceBank+DEMAND, which VCTK_NOISY= in db.sh (or in the environment) names unpacked or as
# archives. Where that is empty, its archives are downloaded (5.7 GB).
# shellcheck disable=SC2154 # options
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "${root}/local/parse_options.sh"
option downloads downloads "for archives and what is unpacked"
option url "" "a mirror: a server's folder with the archives; by default Edinburgh DataShare"
option check_counts true "false: take archives and numbers of files as they are, e.g. of a part"
option fs 16k "sampling rate"
option nj "$(nproc)" "processes that resample"

parse_options "$@"
# shellcheck source=local/path.sh
. ./path.sh
# shellcheck source=local/db.sh
. ./db.sh

bspmpnet vctk_noisy --data_dir data --downloads "${downloads}" \
    ${VCTK_NOISY:+--root "${VCTK_NOISY}"} ${url:+--url "${url}"} \
    --check_counts "${check_counts}" --fs "${fs}" --nj "${nj}"

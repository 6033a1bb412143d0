#!/usr/bin/env bash
# The stages that all recipes share, with the numbers and option names of ESPnet's enh.sh.
# A recipe's run.sh calls it, in the recipe's folder, with the options that it needs.
#
#   1 prepare data in data/        5 count lengths, check the config   8 score
#   2 perturb speed (if asked)     6 train                            11 pack the model
#   3 format to dump/              7 enhance
#   4 drop short and long data
#
# A stage that is done is skipped, one that was interrupted is completed when run again,
# and one whose input or options changed is redone.
# shellcheck disable=SC1091,SC2034,SC2154 # path.sh, cmd.sh; variables used by name
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
run_args=("$@")

# General
stage=1 # first stage to run
stop_stage=11 # last stage to run
skip_data_prep=false # skip stages 1 to 4
skip_train=false # skip stages 5 and 6
skip_eval=false # skip stages 7 and 8
skip_packing=false # skip stage 11
ngpu=1 # GPUs to train with; 0 trains on the CPU
nj=$(nproc) # processes that prepare data and score
inference_nj=$(nproc) # jobs that enhance
gpu_inference=false # enhance on GPUs, one for each job
dumpdir=dump # where formatted data go
expdir=exp # where experiments go
python=python3 # runs the ESPnet commands

# Data
train_set= # name of the training set (required)
valid_set= # name of the validation set (required)
test_sets= # names of the test sets (required)
spk_num=1 # speakers in a recording; only 1 is supported
local_data_opts= # options for the recipe's local/data.sh, which has a --help
speed_perturb_factors= # playback speeds, e.g. "0.9 1.0 1.1"
audio_format=wav # of dumped audio: wav or flac
fs=16k # sampling rate
min_wav_duration=0.1 # shortest training utterance in seconds
max_wav_duration=20.0 # longest training utterance in seconds

# Training
enh_config= # training config
enh_args= # further options for training, which win over the config's
enh_tag= # name of the experiment; by default made of the config's name and enh_args
enh_exp= # folder of the experiment; by default made of expdir and enh_tag
enh_stats_dir= # folder of stage 5; by default made of expdir and fs
init_param= # pretrained parameters to start from, as in ESPnet

# Enhancing and scoring
inference_model=valid.loss.best.pth # which of the saved models to use
inference_args= # further options for enhancing, e.g. "--segment_size 4 --hop_size 3"
inference_tag=enhanced # prefix of the folders of enhanced speech
pcs_outputs="natural boosted" # what to give out; each NAME has a conf/inference_NAME.yaml
scoring_protocol= # measures, e.g. "PESQ STOI SI_SNR"; by default all
scoring_reference=both # clean speech (standard), the same with PCS (paper), or both

# shellcheck source=local/parse_options.sh
. "${root}/local/parse_options.sh"

log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') $*"; }
fail() {
    echo "enh.sh: error: $*" >&2
    exit 2
}
quietly() { "$@" >/dev/null; }
need() { [[ -f $1 ]] || fail "$1 is missing; $2"; } # FILE MEND
in_stage() { ((stage <= $1 && stop_stage >= $1)) && log "stage $1: $2"; }
words() { xargs -rn 1 printf '%s\n' <<<"$1"; } # splits options; quotes keep words together
content() { # FILE|FOLDER...: a checksum of files, and of the lists in folders
    find -L "$@" -maxdepth 1 -type f -not -name '.*' -print0 2>/dev/null |
        LC_ALL=C sort -z | xargs -0r cat | cksum
}
# step MARKER CONTENT COMMAND...: run COMMAND, then write MARKER; or skip it where MARKER
# says that this COMMAND ended well with this CONTENT of what it reads.
step() {
    local marker=$1 key="$*"
    key=${key/ --nj ${nj}/} # the number of processes changes no result
    shift 2
    if [[ -f ${marker} && $(<"${marker}") == "${key}" ]]; then
        log "  done already (to redo it, remove ${marker})"
        return
    fi
    rm -f "${marker}"
    "$@"
    mkdir -p "$(dirname "${marker}")"
    echo "${key}" >"${marker}.new"
    mv "${marker}.new" "${marker}"
}
. ./path.sh
. ./cmd.sh
for name in train_set valid_set test_sets enh_config; do
    [[ -n ${!name} ]] || fail "--${name} is required"
done
need "${enh_config}" "name a training config by --enh_config, relative to ${PWD}"
[[ ${spk_num} == 1 ]] || fail "--spk_num ${spk_num}: only 1 is supported"
((stage >= 1 && stage <= stop_stage && stop_stage <= 11)) ||
    fail "--stage ${stage} --stop_stage ${stop_stage}: give a range within 1 ... 11"
((stage <= 8 || stop_stage == 11)) || fail "there are no stages 9 and 10 (recognition) yet"
sp=${speed_perturb_factors:+_sp}
if [[ -z ${enh_tag} ]]; then
    enh_tag=$(basename "${enh_config}" .yaml)_raw
    enh_tag+=$(sed -e 's/--\|\//_/g' -e 's/[ |="'\'']//g' <<<"${enh_args}")
fi
enh_exp=${enh_exp:-${expdir}/enh_${enh_tag}${sp}}
enh_stats_dir=${enh_stats_dir:-${expdir}/enh_stats_${fs}${sp}}
raw=${dumpdir}/raw
train=${raw}/${train_set}${sp}
valid=${raw}/${valid_set}
model=${enh_exp}/${inference_model}
train_config=${enh_exp}/train.yaml # the config with all that it inherits
for name in local_data_opts enh_args inference_args init_param cuda_cmd decode_cmd; do
    mapfile -t "${name}_words" < <(words "${!name}")
done

if [[ ${skip_data_prep} == false ]]; then
    if in_stage 1 "prepare data"; then
        step data/.done "$(content local)" local/data.sh "${local_data_opts_words[@]}"
    fi
    if [[ -n ${sp} ]] && in_stage 2 "perturb speed: ${speed_perturb_factors}"; then
        step "data/${train_set}_sp/.done" "$(content "data/${train_set}")" \
            bspmpnet speed_perturb --src "data/${train_set}" --dst "data/${train_set}_sp" \
            --factors "${speed_perturb_factors}" --audio_format "${audio_format}" \
            --nj "${nj}"
    fi
    if in_stage 3 "format data/ to ${raw}/"; then
        for set in "${train_set}${sp}" "${valid_set}" ${test_sets}; do
            case ${raw}/${set} in # stage 4 leaves test sets as they are
                "${train}" | "${valid}") dump=${raw}/org/${set} ;;
                *) dump=${raw}/${set} ;;
            esac
            step "${dump}/.done" "$(content "data/${set}")" \
                bspmpnet format_data --src "data/${set}" --dst "${dump}" --fs "${fs}" \
                --audio_format "${audio_format}" --nj "${nj}"
        done
    fi
    if in_stage 4 "drop training data that is too short or long"; then
        for set in "${train_set}${sp}" "${valid_set}"; do
            step "${raw}/${set}/.done" "$(content "${raw}/org/${set}")" \
                bspmpnet filter_data --src "${raw}/org/${set}" --dst "${raw}/${set}" \
                --min_wav_duration "${min_wav_duration}" \
                --max_wav_duration "${max_wav_duration}" --fs "${fs}"
        done
    fi
fi

if [[ ${skip_train} == false ]]; then
    if ((stage <= 6 && stop_stage >= 5)); then
        bspmpnet show_config "${enh_config}" --output "${train_config}"
    fi
    if in_stage 5 "check ${enh_config}, count lengths"; then
        step "${enh_exp}/.config_checked" "$(content "${train_config}")" \
            bspmpnet check_config "${enh_config}"
        step "${enh_stats_dir}/.done" "$(content "${train}" "${valid}")" \
            bspmpnet collect_stats --train "${train}" --valid "${valid}" \
            --output_dir "${enh_stats_dir}"
    fi
    if in_stage 6 "train; log: ${enh_exp}/train.log"; then
        need "${enh_stats_dir}/.done" "run stages 1 to 5 first"
        mkdir -p "${enh_exp}"
        printf '#!/usr/bin/env bash\ncd %q && exec %q %s --stage 6 "$@"\n' "${PWD}" \
            "${root}/local/enh.sh" "${run_args[*]@Q}" >"${enh_exp}/run.sh"
        chmod +x "${enh_exp}/run.sh"
        log "  to go on with it later: ${enh_exp}/run.sh"
        show=() # Kaldi's job commands cannot show a log's lines
        [[ ${cuda_cmd} != bspmpnet-run* ]] || show=(--echo 'epoch (started|results)')
        lists=()
        for mode in train valid; do
            for part in wav.scp,speech_mix spk1.scp,speech_ref1; do
                lists+=(
                    "--${mode}_data_path_and_name_and_type" "${!mode}/${part},sound"
                    "--${mode}_shape_file" "${enh_stats_dir}/${mode}/${part#*,}_shape"
                )
            done
        done
        step "${enh_exp}/.trained" "$(content "${train_config}" "${enh_stats_dir}"/*/)" \
            "${cuda_cmd_words[@]}" --gpu "${ngpu}" "${show[@]}" "${enh_exp}/train.log" \
            "${python}" -m espnet2_bspmpnet.bin.enh_train --config "${train_config}" \
            "${lists[@]}" --fold_length 80000 --fold_length 80000 --resume true \
            --ngpu "${ngpu}" --multiprocessing_distributed true --output_dir "${enh_exp}" \
            ${init_param:+--init_param "${init_param_words[@]}"} "${enh_args_words[@]}"
    fi
fi
enhanced_dir() { # SET OUTPUT: where it goes
    local dir=${enh_exp}/${inference_tag}_$1
    [[ $2 == natural ]] && echo "${dir}" || echo "${dir}_$2"
}
enhance() { # DATA DIR OPTION...
    local data=$1 dir=$2 jobs command=("${decode_cmd_words[@]}" --gpu 0)
    shift 2
    rm -rf "${dir}" # scores as well
    jobs=$(bspmpnet split_scp --scp "${data}/wav.scp" --num "${inference_nj}" \
        --dir "${dir}/logdir")
    [[ ${gpu_inference} == false ]] || command=("${cuda_cmd_words[@]}" --gpu 1)
    "${command[@]}" "JOB=1:${jobs}" "${dir}/logdir/enh_inference.JOB.log" \
        "${python}" -m espnet2_bspmpnet.bin.enh_inference "$@" --fs "${fs}" \
        --data_path_and_name_and_type "${data}/wav.scp,speech_mix,sound" \
        --key_file "${dir}/logdir/keys.JOB.scp" --output_dir "${dir}/logdir/output.JOB"
    for list in utt2seconds spk1.scp; do
        for ((job = 1; job <= jobs; job++)); do
            printf '%s\0' "${dir}/logdir/output.${job}/${list}"
        done | xargs -0 bspmpnet merge_scp --expected "${data}/wav.scp" \
            --output "${dir}/${list}"
    done
}
score() { # DATA NAME DIR AUDIO.scp OPTION...: score into DIR, and NAME it in the results
    local data=$1 name=$2 dir=$3 audio=$4
    shift 4
    step "${dir}/.done" "$(content "${data}" "${audio}")" quietly bspmpnet score \
        --ref "${data}/spk1.scp" --output "${dir}" --nj "${nj}" \
        ${scoring_protocol:+--metrics "${scoring_protocol}"} "$@" "${audio}"
    rows+=("${name}=${dir}")
}

if [[ ${skip_eval} == false ]]; then
    if in_stage 7 "enhance ${test_sets} with ${model}"; then
        need "${model}" "train it (stage 6) or name another file there by --inference_model"
        for set in ${test_sets}; do
            for output in ${pcs_outputs}; do
                config=conf/inference_${output}.yaml
                need "${config}" "--pcs_outputs names configs like this one"
                log "  ${set}, ${output}"
                dir=$(enhanced_dir "${set}" "${output}")
                step "${dir}/.done" "$(content "${raw}/${set}" "${model}" "${config}")" \
                    enhance "${raw}/${set}" "${dir}" --model_file "${model}" \
                    --train_config "${enh_exp}/config.yaml" --inference_config "${config}" \
                    --ngpu "$([[ ${gpu_inference} == true ]] && echo 1 || echo 0)" \
                    "${inference_args_words[@]}"
            done
        done
    fi
    if in_stage 8 "score"; then
        rows=() noisy=() data_dirs=()
        for set in ${test_sets}; do
            score "${raw}/${set}" "noisy_${set}" "${raw}/${set}/scoring" \
                "${raw}/${set}/wav.scp" --noisy
            noisy+=("${rows[-1]}") data_dirs+=(--data_dir "${raw}/${set}")
            for output in ${pcs_outputs}; do
                dir=$(enhanced_dir "${set}" "${output}")
                need "${dir}/spk1.scp" "run stage 7 first"
                balance=()
                [[ ${output} != natural ]] || balance=(--natural enhanced)
                score "${raw}/${set}" "${dir##*/}" "${dir}/scoring" "${dir}/spk1.scp" \
                    --protocol "${scoring_reference}" "${balance[@]}" --inf
            done
        done
        bspmpnet results --output "${enh_exp}/RESULTS.md" "${rows[@]}"
        experiments=$(dirname "${enh_exp}")
        log "  all experiments side by side: ${experiments}/RESULTS.md"
        quietly bspmpnet results --expdir "${experiments}" \
            --output "${experiments}/RESULTS.md" "${experiments}" "${noisy[@]}"
        bspmpnet report "${enh_exp}" --inference_model "${inference_model}" "${data_dirs[@]}"
    fi
fi

if [[ ${skip_packing} == false ]] && in_stage 11 "pack the model"; then
    need "${model}" "train it (stage 6) or name another file there by --inference_model"
    need "${enh_exp}/RESULTS.md" "run stage 8 first"
    packed=${enh_exp##*/}_${inference_model%.*}.zip
    # An absolute path would be unpacked there, on whatever machine: exp/enh_... is packed.
    top=$(realpath "${enh_exp}/../..")
    within=$(realpath "${enh_exp}" --relative-to "${top}")
    python=$(type -P "${python}")
    [[ ${python} == /* ]] || python=${PWD}/${python}
    (
        cd "${top}"
        "${python}" -m espnet2_bspmpnet.bin.pack enh --outpath "${within}/${packed}" \
            --train_config "${within}/config.yaml" \
            --model_file "${within}/${inference_model}" \
            --option "${within}/RESULTS.md" --option "${within}/images"
    )
    log "  ${enh_exp}/${packed}"
fi
log "done in $((SECONDS / 60)) min $((SECONDS % 60)) s"

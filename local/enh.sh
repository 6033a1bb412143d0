#!/usr/bin/env bash
# The stages that all recipes share, with the numbers and option names of ESPnet's enh.sh.
# A recipe's run.sh calls it, in the recipe's folder, with the options that it needs.
#
#   1 prepare data in data/        6 train                   11 pack the model
#   2 perturb speed (if asked)     7 enhance                 12 (Zenodo: left out)
#   3 format to dump/              8 score                   13 upload (if asked)
#   4 drop short and long data     9 recognise (if asked)
#   5 count lengths, check config 10 word error rate (if asked)
#
# A stage that is done is skipped, one that was interrupted is completed when run again,
# and one whose input or options changed is redone.
# shellcheck disable=SC1091,SC2034,SC2154 # path.sh, cmd.sh; variables used by name
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
run_args=("$@")

# General
stage=1 # first stage to run
stop_stage=13 # last stage to run
skip_data_prep=false # skip stages 1 to 4
skip_train=false # skip stages 5 and 6
skip_eval=false # skip stages 7 to 10
skip_packing=false # skip stage 11
backend= # where jobs run: local (this machine) or slurm; by default cmd.sh's choice
slurm_args= # for all Slurm jobs, e.g. "--partition gpu --time 2-0 --mem 32G"
ngpu=1 # GPUs to train with, on each machine; 0 trains on the CPU
num_nodes=1 # machines to train on; more than one needs --backend slurm
nj=$(nproc) # jobs that prepare data and score
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
resume=true # go on with a training that was interrupted; false begins anew
init_param= # pretrained parameters to start from, as in ESPnet

# Enhancing and scoring
inference_model=valid.loss.best.pth # which of the saved models to use
inference_args= # further options for enhancing, e.g. "--segment_size 4 --hop_size 3"
inference_tag=enhanced # prefix of the folders of enhanced speech
pcs_outputs="natural boosted" # what to give out, each with a conf/inference_NAME.yaml
scoring_protocol= # measures, e.g. "PESQ STOI SI_SNR"; by default all
scoring_reference=both # clean speech (standard), the same with PCS (paper), or both

# Word error rates
score_with_asr=false # recognise noisy, clean and enhanced speech, and count the errors
asr_model_tag= # recogniser to fetch: a name in espnet_model_zoo, or a packed model
asr_exp= # or the folder of one, with config.yaml
inference_asr_model=valid.acc.best.pth # which of the models in asr_exp
lm_exp= # folder of a language model for it, with config.yaml; by default none
inference_lm=valid.loss.best.pth # which of the models in lm_exp
inference_asr_config= # config for recognising
inference_asr_args= # further options for recognising, e.g. "--beam_size 5"
inference_asr_tag= # names the results; by default made of the recogniser and the options
asr_ignore="case punctuation" # differences that are no errors; "" counts all

# Sharing
download_model= # enhance and score with a shared model: OWNER/NAME, or a packed model
skip_upload_hf=true # skip stage 13
hf_repo= # where to upload to on the Hugging Face hub: OWNER/NAME
upload_dry_run=false # only make the folder that would be uploaded
lang= # language of the corpus for the model card, e.g. en

# shellcheck source=local/parse_options.sh
. "${root}/local/parse_options.sh"

# shellcheck source=local/stages.sh
. "${root}/local/stages.sh"
. ./path.sh
. ./cmd.sh
required=(train_set valid_set test_sets dumpdir expdir python)
[[ -n ${download_model} ]] || required+=(enh_config)
for name in "${required[@]}"; do
    [[ -n ${!name} ]] || fail "--${name} is required"
done
if [[ -n ${download_model} ]]; then
    skip_train=true skip_packing=true
    enh_exp=${enh_exp:-${expdir}/$(name_of_model "${download_model}")}
else
    need "${enh_config}" "name a training config by --enh_config, relative to ${PWD}"
fi
[[ ${spk_num} == 1 ]] || fail "--spk_num ${spk_num}: only 1 is supported"
((stage >= 1 && stage <= stop_stage && stop_stage <= 13)) ||
    fail "--stage ${stage} --stop_stage ${stop_stage}: give a range within 1 ... 13"
[[ ${num_nodes} == 1 || ${cuda_cmd} == bspmpnet-slurm* ]] ||
    fail "--num_nodes ${num_nodes}: cmd.sh's jobs run on one machine each; add --backend slurm"
[[ ${skip_upload_hf} == true || ${hf_repo} =~ ^[^/]+/[^/]+$ ]] ||
    fail "--skip_upload_hf false: say where to by --hf_repo OWNER/NAME"
[[ ${score_with_asr} == false || (-n ${asr_exp}${asr_model_tag} &&
    (-z ${asr_exp} || -z ${asr_model_tag})) ]] ||
    fail "--score_with_asr true: name a recogniser by --asr_model_tag or --asr_exp"
enh_exp=${enh_exp%/} asr_exp=${asr_exp%/} lm_exp=${lm_exp%/} # their last parts are names
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
noises=${train_set}_noise # a set of noises to mix the training set with, if stage 1 made it
train_config=${enh_exp}/train.yaml # the config with all that it inherits
inference_asr_tag=${inference_asr_tag:-$(default_asr_tag)}
packed=${enh_exp}/${enh_exp##*/}_${inference_model%.*}.zip
for name in local_data_opts enh_args inference_{,asr_}args init_param {train,cuda,decode}_cmd; do
    words "${!name}" &>/dev/null || fail "--${name} ${!name}: a quote in it is not closed"
    mapfile -t "${name}_words" < <(words "${!name}")
done

if [[ ${skip_data_prep} == false ]]; then
    if in_stage 1 "prepare data"; then
        corpora=$(. ./db.sh && echo "${VCTK_NOISY} ${WHAMR} ${WSJ0} ${WHAM_NOISE}")
        step data/.done "$(content local) ${corpora}" \
            local/data.sh "${local_data_opts_words[@]}"
    fi
    if [[ -n ${sp} ]] && in_stage 2 "perturb speed: ${speed_perturb_factors}"; then
        step "data/${train_set}_sp/.done" "$(prepared "${train_set}")" \
            in_parts "data/${train_set}/wav.scp" "data/${train_set}_sp/logdir/perturb" \
            bspmpnet speed_perturb --src "data/${train_set}" --dst "data/${train_set}_sp" \
            --factors "${speed_perturb_factors}" --audio_format "${audio_format}"
    fi
    if in_stage 3 "format data/ to ${raw}/"; then
        rm -f "${raw}/${noises}/noise_db_range"
        more=$([[ ! -d data/${noises} ]] || echo "${noises}")
        for set in "${train_set}${sp}" "${valid_set}" ${test_sets} ${more}; do
            case ${raw}/${set} in # stage 4 leaves test sets as they are
                "${train}" | "${valid}") dump=${raw}/org/${set} ;;
                *) dump=${raw}/${set} ;;
            esac
            list=data/${set}/wav.scp
            # Where stage 1 has formatted them, there is nothing for jobs to do.
            [[ ! -f data/${set}/utt2num_samples ]] || list=
            step "${dump}/.done" "$(prepared "${set}")" \
                in_parts "${list}" "${dump}/logdir/format" \
                bspmpnet format_data --src "data/${set}" --dst "${dump}" --fs "${fs}" \
                --audio_format "${audio_format}"
        done
        [[ ! -d data/${noises} ]] || cp "data/${noises}/noise_db_range" "${raw}/${noises}/"
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
    if in_stage 5 "count lengths, check ${enh_config}"; then
        step "${enh_stats_dir}/.done" "$(content "${train}" "${valid}")" \
            "${train_cmd_words[@]}" "${enh_stats_dir}/logdir/collect_stats.log" \
            bspmpnet collect_stats --train "${train}" --valid "${valid}" \
            --output_dir "${enh_stats_dir}"
        step "${enh_exp}/.config_checked" "$(content "${train_config}")" \
            bspmpnet check_config "${enh_config}"
    fi
    if in_stage 6 "train; log: ${enh_exp}/train.log"; then
        need "${enh_stats_dir}/.done" "run stages 1 to 5 first"
        mkdir -p "${enh_exp}"
        printf '#!/usr/bin/env bash\ncd %q && exec %q %s --stage 6 --resume true "$@"\n' "${PWD}" \
            "${root}/local/enh.sh" "${run_args[*]@Q}" >"${enh_exp}/run.sh"
        chmod +x "${enh_exp}/run.sh"
        log "  to go on with it later: ${enh_exp}/run.sh"
        progress='INFO: (\[Early stopping\].*|epoch [0-9]+/[0-9]+(?P<progress>: step)? .*)'
        show=() # Kaldi's job commands cannot show a log's lines
        [[ ${cuda_cmd} != bspmpnet-* ]] || show=(--echo "${progress}")
        nodes=() distributed=()
        if ((num_nodes > 1)); then # bspmpnet-slurm knows which machine will be the first
            nodes=(--num_nodes "${num_nodes}")
            distributed=(--dist_launcher slurm --dist_master_addr MASTER_ADDR)
            ((ngpu > 0)) || distributed+=(--dist_backend gloo)
        fi
        data=$(content "${train}" "${valid}" "${raw}/${noises}")
        # Until it has begun, which makes it .trained_on: requeued or run again, it resumes.
        anew=${enh_exp}/.start_anew
        if [[ ${resume} == false || -e ${anew} ]]; then
            rm -f "${enh_exp}/.trained"
            echo "${data}" >"${anew}"
            log "  begins anew, as --resume false asked for (to resume, remove ${anew})"
        elif [[ -f ${enh_exp}/checkpoint.pth && -f ${enh_exp}/.trained_on &&
            $(<"${enh_exp}/.trained_on") != "${data}" ]]; then
            fail "${enh_exp} was trained on other data: train beside it by --enh_tag NAME, anew" \
                "by --resume false, or go on with these by removing ${enh_exp}/.trained_on"
        else
            echo "${data}" >"${enh_exp}/.trained_on"
        fi
        mixing=()
        if [[ -f ${raw}/${noises}/noise_db_range ]]; then
            mixing=(--noise_scp "${raw}/${noises}/wav.scp" --short_noise_thres 0
                "--noise_db_range=$(<"${raw}/${noises}/noise_db_range")")
        fi
        lists=()
        for mode in train valid; do
            for part in wav.scp,speech_mix spk1.scp,speech_ref1; do
                lists+=(
                    "--${mode}_data_path_and_name_and_type" "${!mode}/${part},sound"
                    "--${mode}_shape_file" "${enh_stats_dir}/${mode}/${part#*,}_shape"
                )
            done
        done
        step "${enh_exp}/.trained" \
            "$(content "${train_config}") ${data}" \
            "${cuda_cmd_words[@]}" --gpu "${ngpu}" "${nodes[@]}" "${show[@]}" \
            "${enh_exp}/train.log" \
            "${python}" -m espnet2_bspmpnet.bin.enh_train --config "${train_config}" \
            "${lists[@]}" "${mixing[@]}" --fold_length 80000 --fold_length 80000 \
            --resume true --ngpu "${ngpu}" --multiprocessing_distributed true \
            "${distributed[@]}" --output_dir "${enh_exp}" \
            ${init_param:+--init_param "${init_param_words[@]}"} "${enh_args_words[@]}"
    fi
fi

if [[ ${skip_eval} == false ]]; then
    if [[ -n ${download_model} ]] && ((stage <= 8 && stop_stage >= 7)); then
        inference_model=$(bspmpnet download_model "${download_model}" --expdir "${enh_exp}")
        model=${enh_exp}/${inference_model}
    fi
    if in_stage 7 "enhance ${test_sets} with ${model}"; then
        need "${model}" "train it (stage 6) or name another file there by --inference_model"
        for set in ${test_sets}; do
            for output in ${pcs_outputs}; do
                config=$(config_of "inference_${output}")
                need "${config}" "--pcs_outputs names configs like this one"
                log "  ${set}, ${output}"
                dir=$(enhanced_dir "${set}" "${output}")
                made_with=$(content "${raw}/${set}" "${model}" "${config}")
                step "${dir}/.done" "${made_with}" \
                    enhance "${made_with}" "${raw}/${set}" "${dir}" --model_file "${model}" \
                    --train_config "${enh_exp}/config.yaml" --inference_config "${config}" \
                    --ngpu "$([[ ${gpu_inference} == true ]] && echo 1 || echo 0)" \
                    "${inference_args_words[@]}"
            done
        done
    fi
    if in_stage 8 "score"; then
        data_dirs=()
        for set in ${test_sets}; do
            score "${raw}/${set}" "${raw}/${set}/scoring" "${raw}/${set}/wav.scp" --noisy
            data_dirs+=(--data_dir "${raw}/${set}")
            for output in ${pcs_outputs}; do
                dir=$(enhanced_dir "${set}" "${output}")
                need "${dir}/spk1.scp" "run stage 7 first"
                balance=()
                [[ ${output} != natural ]] || balance=(--natural enhanced)
                score "${raw}/${set}" "${dir}/scoring" "${dir}/spk1.scp" \
                    --protocol "${scoring_reference}" "${balance[@]}" --inf
            done
        done
        write_results
        bspmpnet report "${enh_exp}" --inference_model "${inference_model}" "${data_dirs[@]}"
    fi
fi

if [[ ${skip_eval} == true || ${score_with_asr} == false ]]; then
    ((stage > 10 || stop_stage < 9)) ||
        log "stages 9 and 10: skipped (--score_with_asr true counts an ASR model's errors)"
else
    if in_stage 9 "recognise ${test_sets} with ${asr_model_tag:-${asr_exp}}"; then
        bspmpnet check_recogniser "${asr_model_tag:-${asr_exp}}" --fs "${fs}"
        for_all_speech recognise
    fi
    if in_stage 10 "count word errors"; then
        for_all_speech count_errors
        write_results
    fi
fi

if [[ ${skip_packing} == false ]] && in_stage 11 "pack the model"; then
    need "${model}" "train it (stage 6) or name another file there by --inference_model"
    need "${enh_exp}/RESULTS.md" "run stage 8 first"
    # An absolute path would be unpacked there, on whatever machine: exp/enh_... is packed.
    top=$(realpath "${enh_exp}/../..")
    within=$(realpath "${enh_exp}" --relative-to "${top}")
    python=$(type -P "${python}")
    [[ ${python} == /* ]] || python=${PWD}/${python}
    images=() # curves of the training
    [[ ! -d ${enh_exp}/images ]] || images=(--option "${within}/images")
    (
        cd "${top}"
        "${python}" -m espnet2_bspmpnet.bin.pack enh --outpath "${within}/${packed##*/}" \
            --train_config "${within}/config.yaml" \
            --model_file "${within}/${inference_model}" \
            --option "${within}/RESULTS.md" "${images[@]}"
    )
    log "  ${packed}"
fi
in_stage 12 "left out: Zenodo keeps what is uploaded for ever; share by stage 13" || true
if [[ ${skip_upload_hf} == true ]]; then
    in_stage 13 "upload: skipped (--skip_upload_hf false --hf_repo OWNER/NAME does it)" || true
elif in_stage 13 "upload ${packed} to ${hf_repo}"; then
    bspmpnet upload_model --packed "${packed}" --hf_repo "${hf_repo}" \
        --folder "${expdir}/hf_${hf_repo//\//_}" --dry_run "${upload_dry_run}" \
        --recipe "$(basename "$(dirname "${PWD}")")/${PWD##*/}" ${lang:+--language "${lang}"}
fi
log "done in $((SECONDS / 60)) min $((SECONDS % 60)) s"

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
# shellcheck source=local/parse_options.sh
. "${root}/local/parse_options.sh"
# shellcheck source=local/stages.sh
. "${root}/local/stages.sh"
# shellcheck source=local/recognise.sh
. "${root}/local/recognise.sh"

# General
option stage 1 "first stage to run"
option stop_stage 13 "last stage to run"
option skip_data_prep false "skip stages 1 to 4"
option skip_train false "skip stages 5 and 6"
option skip_eval false "skip stages 7 to 10"
option skip_packing false "skip stage 11"
option backend "" "where jobs run: local (this machine) or slurm; by default cmd.sh's choice"
option slurm_args "" 'for all Slurm jobs, e.g. "--partition gpu --time 2-0 --mem 32G"'
option ngpu 1 "GPUs to train with, on each machine; 0 trains on the CPU"
option num_nodes 1 "machines to train on; more than one needs --backend slurm"
option nj "$(nproc)" "jobs that prepare data and score"
option inference_nj "$(nproc)" "jobs that enhance"
option gpu_inference false "enhance on GPUs, one for each job"
option dumpdir dump "where formatted data go"
option expdir exp "where experiments go"
option python python3 "runs the ESPnet commands"

# Data
option train_set "" "name of the training set (required)"
option valid_set "" "name of the validation set (required)"
option test_sets "" "names of the test sets (required)"
option spk_num 1 "speakers in a recording; only 1 is supported"
option local_data_opts "" "options for the recipe's local/data.sh, which has a --help"
option speed_perturb_factors "" 'playback speeds, e.g. "0.9 1.0 1.1"'
option audio_format wav "of dumped audio: wav or flac"
option fs 16k "sampling rate"
option min_wav_duration 0.1 "shortest training utterance in seconds"
option max_wav_duration 20.0 "longest training utterance in seconds"

# Training
option enh_config "" "training config"
option enh_args "" "further options for training, which win over the config's"
option enh_tag "" "name of the experiment; by default made of the config's name and enh_args"
option enh_exp "" "folder of the experiment; by default made of expdir and enh_tag"
option enh_stats_dir "" "folder of stage 5; by default made of expdir and fs"
option resume true "resume a training that was interrupted; false trains from scratch"
option init_param "" "pretrained parameters to start from, as in ESPnet"

# Enhancing and scoring
option inference_model valid.loss.best.pth "which of the saved models to use"
option inference_args "" 'further options for enhancing, e.g. "--segment_size 4 --hop_size 3"'
option inference_tag enhanced "prefix of the folders of enhanced speech"
option pcs_outputs "natural boosted" "what to write, each with a conf/inference_NAME.yaml"
option scoring_protocol "" 'measures, e.g. "PESQ STOI SI_SNR"; by default all'
option scoring_reference both "clean speech (clean), PCS of it as in the paper (pcs), or both"

# Word error rates
option score_with_asr false "recognise noisy, clean and enhanced speech, and count the errors"
option asr_model_tag "" "recogniser to fetch: a name in espnet_model_zoo, or a packed model"
option asr_exp "" "or the folder of one, with config.yaml"
option inference_asr_model valid.acc.best.pth "which of the models in asr_exp"
option lm_exp "" "folder of a language model for it, with config.yaml; by default none"
option inference_lm valid.loss.best.pth "which of the models in lm_exp"
option inference_asr_config "" "config for recognising"
option inference_asr_args "" 'further options for recognising, e.g. "--beam_size 5"'
option inference_asr_tag "" "names the results; by default made of recogniser and options"
option asr_ignore "case punctuation" 'differences that are no errors; "" counts all'

# Sharing
option download_model "" "enhance and score with a shared model: OWNER/NAME or a packed file"
option skip_upload_hf true "skip stage 13"
option hf_repo "" "where to upload to on the Hugging Face hub: OWNER/NAME"
option upload_dry_run false "only make the folder that would be uploaded"
option lang "" "language of the corpus for the model card, e.g. en"

parse_options "$@"
. ./path.sh
cmd_can=
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
[[ ${num_nodes} == 1 ]] || can num_nodes ||
    fail "--num_nodes ${num_nodes}: cmd.sh's jobs run on one machine each; add --backend slurm"
reference=${scoring_reference/#standard/clean} # the names that they had before
reference=${reference/#paper/pcs}
[[ ${reference} =~ ^(clean|pcs|both)$ ]] ||
    fail "--scoring_reference '${scoring_reference}': give clean, pcs or both"
[[ ${reference} == "${scoring_reference}" ]] ||
    log "--scoring_reference ${scoring_reference} is now --scoring_reference ${reference}"
[[ ${skip_upload_hf} == true || ${hf_repo} =~ ^[^/]+/[^/]+$ ]] ||
    fail "--skip_upload_hf false: say where to by --hf_repo OWNER/NAME"
for name in local_data_opts enh_args inference_{,asr_}args init_param {train,cuda,decode}_cmd; do
    words "${!name}" &>/dev/null || fail "--${name} ${!name}: a quote in it is not closed"
    mapfile -t "${name}_words" < <(words "${!name}")
done

enh_exp=${enh_exp%/} # its last part is a name
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
noises=${train_set}_noise rooms=${train_set}_rir # to mix it with, if stage 1 made them
train_config=${enh_exp}/train.yaml # the config with all that it inherits
threads=$((inference_nj > 0 ? $(nproc) / inference_nj : 1)) # more than cores are slow
inference_ngpu=0
inference_cmd_words=("${decode_cmd_words[@]}" --gpu 0 --num_threads "$((threads > 1 ? threads : 1))")
[[ ${gpu_inference} == false ]] ||
    inference_ngpu=1 inference_cmd_words=("${cuda_cmd_words[@]}" --gpu 1)
packed=${enh_exp}/${enh_exp##*/}_${inference_model%.*}.zip
check_recognition_options

if [[ ${skip_data_prep} == false ]]; then
    if in_stage 1 "prepare data"; then
        . ./db.sh
        step data/.done --reads local -- \
            env "VCTK_NOISY=${VCTK_NOISY}" "WHAMR=${WHAMR}" "WSJ0=${WSJ0}" \
            "WHAM_NOISE=${WHAM_NOISE}" local/data.sh "${local_data_opts_words[@]}"
    fi
    if [[ -n ${sp} ]] && in_stage 2 "perturb speed: ${speed_perturb_factors}"; then
        step "data/${train_set}_sp/.done" --reads "data/${train_set}" data/.done -- \
            in_parts "data/${train_set}/wav.scp" "data/${train_set}_sp/logdir/perturb" \
            bspmpnet speed_perturb --src "data/${train_set}" --dst "data/${train_set}_sp" \
            --factors "${speed_perturb_factors}" --audio_format "${audio_format}"
    fi
    if in_stage 3 "format data/ to ${raw}/"; then
        for set in "${noises}" "${rooms}" "${train_set}${sp}" "${valid_set}" ${test_sets}; do
            case ${raw}/${set} in # stage 4 leaves test sets as they are
                "${train}" | "${valid}") dump=${raw}/org/${set} ;;
                *) dump=${raw}/${set} ;;
            esac
            [[ -d data/${set} || ${set} != "${train_set}"_@(noise|rir) ]] ||
                { rm -rf "${dump:?}" && continue; }
            list=data/${set}/wav.scp # for jobs, unless stage 1 has formatted them
            [[ ! -f data/${set}/utt2num_samples ]] || list=
            step "${dump}/.done" --reads "data/${set}" data/.done -- \
                in_parts "${list}" "${dump}/logdir/format" \
                bspmpnet format_data --src "data/${set}" --dst "${dump}" --fs "${fs}" \
                --audio_format "${audio_format}"
        done
        [[ ! -d data/${noises} ]] || cp "data/${noises}/noise_db_range" "${raw}/${noises}/"
    fi
    if in_stage 4 "drop training data that is too short or long"; then
        for set in "${train_set}${sp}" "${valid_set}"; do
            step "${raw}/${set}/.done" --reads "${raw}/org/${set}" -- \
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
        step "${enh_stats_dir}/.done" --reads "${train}" "${valid}" -- \
            "${train_cmd_words[@]}" "${enh_stats_dir}/logdir/collect_stats.log" \
            bspmpnet collect_stats --train "${train}" --valid "${valid}" \
            --output_dir "${enh_stats_dir}"
        step "${enh_exp}/.config_checked" --reads "${train_config}" -- \
            bspmpnet check_config "${enh_config}"
    fi
    if in_stage 6 "train; log: ${enh_exp}/train.log"; then
        need "${enh_stats_dir}/.done" "run stages 1 to 5 first"
        mkdir -p "${enh_exp}"
        printf '#!/usr/bin/env bash\ncd %q && exec %q %s --stage 6 --resume true "$@"\n' "${PWD}" \
            "${root}/local/enh.sh" "${run_args[*]@Q}" >"${enh_exp}/run.sh"
        chmod +x "${enh_exp}/run.sh"
        log "  to resume it later: ${enh_exp}/run.sh"
        train_network
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
                step "${dir}/.done" --reads "${raw}/${set}" "${model}" "${config}" \
                    --resumes_in "${dir}" -- \
                    enhance "${raw}/${set}" "${dir}" --model_file "${model}" \
                    --train_config "${enh_exp}/config.yaml" --inference_config "${config}" \
                    --ngpu "${inference_ngpu}" "${inference_args_words[@]}"
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
                    --reference "${reference}" "${balance[@]}" --inf
            done
        done
        write_results
        bspmpnet report "${enh_exp}" --inference_model "${inference_model}" "${data_dirs[@]}"
    fi
fi

recognition_stages # 9 and 10

if [[ ${skip_packing} == false ]] && in_stage 11 "pack the model"; then
    need "${model}" "train it (stage 6) or name another file there by --inference_model"
    need "${enh_exp}/RESULTS.md" "run stage 8 first"
    pack_model
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

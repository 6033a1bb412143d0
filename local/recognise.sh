# shellcheck shell=bash
# Stages 9 and 10 of enh.sh: what a recogniser understands; sourced by it, uses its options.
# shellcheck disable=SC2154 # its options

check_recognition_options() {
    [[ ${score_with_asr} == false || (-n ${asr_exp}${asr_model_tag} &&
        (-z ${asr_exp} || -z ${asr_model_tag})) ]] ||
        fail "--score_with_asr true: name a recogniser by --asr_model_tag or --asr_exp"
    asr_exp=${asr_exp%/} lm_exp=${lm_exp%/} # their last parts are names
    inference_asr_tag=${inference_asr_tag:-$(default_asr_tag)}
}
recognition_stages() {
    if [[ ${skip_eval} == true || ${score_with_asr} == false ]]; then
        ((stage > 10 || stop_stage < 9)) ||
            log "stages 9 and 10: skipped (--score_with_asr true counts an ASR model's errors)"
        return
    fi
    if in_stage 9 "recognise ${test_sets} with ${asr_model_tag:-${asr_exp}}"; then
        bspmpnet check_recogniser "${asr_model_tag:-${asr_exp}}" --fs "${fs}"
        for_all_speech recognise
    fi
    if in_stage 10 "count word errors"; then
        for_all_speech count_errors
        write_results
    fi
}
# for_all_speech COMMAND: run COMMAND TEXT NAME AUDIO.scp DIR for the noisy, clean and
# enhanced speech of all test sets.
for_all_speech() {
    local set output dir text data tag=${inference_asr_tag}
    for set in ${test_sets}; do
        data=${raw}/${set}
        text=${data}/text
        need "${text}" "word error rates need transcripts: add data/${set}/text and run stage 3"
        "$1" "${text}" "noisy_${set}" "${data}/wav.scp" "${data}/scoring/${tag}"
        "$1" "${text}" "clean_${set}" "${data}/spk1.scp" "${data}/scoring/${tag}_clean"
        for output in ${pcs_outputs}; do
            dir=$(enhanced_dir "${set}" "${output}")
            need "${dir}/spk1.scp" "run stage 7 first"
            "$1" "${text}" "${dir##*/}" "${dir}/spk1.scp" "${dir}/scoring/${tag}"
        done
    done
}
recognise() { # TEXT NAME AUDIO.scp DIR
    local options=(--ngpu "${inference_ngpu}") read=("$3")
    if [[ -n ${asr_model_tag} ]]; then
        options+=(--model_tag "${asr_model_tag}")
        [[ ! -f ${asr_model_tag} ]] || read+=("${asr_model_tag}")
    else
        read+=("${asr_exp}/config.yaml" "${asr_exp}/${inference_asr_model}")
        need "${read[-1]}" "name another file there by --inference_asr_model"
        options+=(--asr_train_config "${read[1]}" --asr_model_file "${read[2]}")
    fi
    if [[ -n ${lm_exp} ]]; then
        need "${lm_exp}/${inference_lm}" "name another file there by --inference_lm"
        read+=("${lm_exp}/${inference_lm}")
        options+=(--lm_train_config "${lm_exp}/config.yaml" --lm_file "${read[-1]}")
    fi
    if [[ -n ${inference_asr_config} ]]; then
        need "${inference_asr_config}" "name a config for recognising"
        read+=("${inference_asr_config}")
        options+=(--config "${inference_asr_config}")
    fi
    log "  $2"
    step "$4/.recognised" --reads "${read[@]}" --resumes_in "$4/logdir" -- \
        infer espnet2.bin.asr_inference speech "$3" "$4/logdir" \
        "${options[@]}" "${inference_asr_args_words[@]}"
}
count_errors() { # TEXT NAME AUDIO.scp DIR
    need "$4/.recognised" "run stage 9 first"
    bspmpnet score_text --ref "$1" --output "$4" --name "$2" --asr "${inference_asr_tag}" \
        --ignore "${asr_ignore}" "$4"/logdir/output.*/1best_recog/text
}

default_asr_tag() {
    local tag
    tag=$(name_of_model "${asr_model_tag:-${asr_exp##*/}}")
    tag=asr_${tag#asr_}
    [[ -n ${asr_model_tag} ]] || tag+=_${inference_asr_model%.*}
    [[ -z ${inference_asr_config} ]] || tag+=_$(basename "${inference_asr_config}" .yaml)
    tag+=${lm_exp:+_lm_${lm_exp##*/}_${inference_lm%.*}}
    name_of_model "${tag}$(sed -e 's/--/_/g' -e 's/ //g' <<<"${inference_asr_args}")"
}

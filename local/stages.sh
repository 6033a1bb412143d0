# shellcheck shell=bash
# What the stages of enh.sh are made of; sourced by it, uses its options.
# shellcheck disable=SC2034,SC2154 # its options

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
    { find -L "$@" -maxdepth 1 -type f -not -name '.*' -print0 2>/dev/null || true; } |
        LC_ALL=C sort -z | xargs -0r cat | cksum
}
prepared() { # SET: its lists, and when stage 1 made them, as it may have made other audio
    echo "$(content "data/$1") $(stat -c %y data/.done 2>/dev/null)"
}
# step MARKER CONTENT COMMAND...: run COMMAND, then write MARKER; or skip it where MARKER
# says that this COMMAND ended well with this CONTENT of what it reads.
step() {
    local marker=$1 key="$*"
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
# in_parts LIST LOG COMMAND...: run COMMAND --part JOB/N as jobs, no more than LIST has lines.
# If one fails, what the others did is kept. COMMAND alone then finds all done and finishes.
in_parts() {
    local list=$1 log=$2 jobs=0 show=()
    shift 2
    [[ ${train_cmd} != bspmpnet-* ]] || show=(--echo '(?P<progress>.+: +[0-9]+%[|].*)')
    [[ ! -f ${list} ]] || jobs=$(wc -l <"${list}")
    jobs=$((jobs < nj ? jobs : nj))
    ((jobs == 0)) || "${train_cmd_words[@]}" --num_threads 1 "${show[@]}" "JOB=1:${jobs}" \
        "${log}.JOB.log" "$@" --nj 1 --part "JOB/${jobs}"
    quietly "$@" --nj 1
}
config_of() { # NAME: the recipe's own configuration of that name, or the one for all recipes
    [[ -f conf/$1.yaml ]] && echo "conf/$1.yaml" || echo "${root}/conf/$1.yaml"
}

enhanced_dir() { # SET OUTPUT: where it goes
    local dir=${enh_exp}/${inference_tag}_$1
    [[ $2 == natural ]] && echo "${dir}" || echo "${dir}_$2"
}
outlived() { # NOTE: whether Slurm still has the jobs that an earlier run.sh noted there
    [[ -f $1 && -n $(squeue --noheader --jobs "$(<"$1")" 2>/dev/null) ]]
}
begin_or_go_on() { # DIR KEY: empty DIR, unless what an attempt with this KEY has begun
    local note
    [[ ! -f $1/.begun || $(<"$1/.begun") != "$2" ]] || return 0
    for note in "$1"/{,logdir/}slurm/*.job; do
        ! outlived "${note}" || fail "job $(<"${note}"), of other options, still writes to" \
            "$1: wait for its end, or run: scancel $(<"${note}")"
    done
    rm -rf "$1" # scores as well
    mkdir -p "$1"
    echo "$2" >"$1/.begun"
}
# infer MODULE INPUT AUDIO.scp LOGDIR OPTION...: run MODULE in jobs on what is missing.
infer() {
    local name=${1##*.} module=$1 input=$2 audio=$3 logdir=$4 recognise=false numbers jobs
    local command=("${decode_cmd_words[@]}" --gpu 0)
    shift 4
    [[ ${gpu_inference} == false ]] || command=("${cuda_cmd_words[@]}" --gpu 1)
    [[ ${name} != asr_inference ]] || recognise=true
    numbers=${logdir}/.${name}.jobs
    # Jobs that outlived an earlier run.sh are waited for by the same command.
    if [[ ${command[0]} != bspmpnet-slurm || ! -f ${numbers} ]] ||
        ! outlived "${logdir}/slurm/${name}.job"; then
        mkdir -p "${logdir}"
        bspmpnet split_keys --scp "${audio}" --num "${inference_nj}" --logdir "${logdir}" \
            --recognise "${recognise}" >"${numbers}.new" || return
        mv "${numbers}.new" "${numbers}"
    fi
    jobs=$(<"${numbers}")
    [[ -z ${jobs} ]] || "${command[@]}" "JOB=${jobs}" "${logdir}/${name}.JOB.log" \
        "${python}" -m "${module}" "$@" \
        --data_path_and_name_and_type "${audio},${input},sound" \
        --key_file "${logdir}/keys.JOB.scp" --output_dir "${logdir}/output.JOB"
}
# enhance CONTENT DATA DIR OPTION...: enhance what an earlier attempt with the same CONTENT
# and OPTIONs has not.
enhance() {
    local key="$*" data=$2 dir=$3
    shift 3
    begin_or_go_on "${dir}" "${key}"
    infer espnet2_bspmpnet.bin.enh_inference speech_mix "${data}/wav.scp" "${dir}/logdir" \
        "$@" --fs "${fs}" --resume true
    bspmpnet join_enhanced --scp "${data}/wav.scp" --logdir "${dir}/logdir" \
        --output_dir "${dir}"
    rm "${dir}/.begun" # what is finished and to be redone begins anew
}
score() { # DATA DIR AUDIO.scp OPTION...: score into DIR
    local data=$1 dir=$2 audio=$3
    shift 3
    step "${dir}/.done" "$(content "${data}" "${audio}")" \
        in_parts "${audio}" "${dir}/logdir/score" \
        bspmpnet score --ref "${data}/spk1.scp" --output "${dir}" \
        ${scoring_protocol:+--metrics "${scoring_protocol}"} "$@" "${audio}"
}
write_results() { # RESULTS.md of this experiment, and of all of them side by side
    local set output dir rows=() noisy=() experiments
    experiments=$(dirname "${enh_exp}")
    for set in ${test_sets}; do
        noisy+=("noisy_${set}=${raw}/${set}/scoring")
        rows+=("${noisy[-1]}")
        for output in ${pcs_outputs}; do
            dir=$(enhanced_dir "${set}" "${output}")
            rows+=("${dir##*/}=${dir}/scoring")
        done
    done
    bspmpnet results --output "${enh_exp}/RESULTS.md" "${rows[@]}"
    log "  all experiments side by side: ${experiments}/RESULTS.md"
    quietly bspmpnet results --expdir "${experiments}" \
        --output "${experiments}/RESULTS.md" "${experiments}" "${noisy[@]}"
}

name_of_model() { # OWNER/NAME|FILE.zip: as a folder's name
    local name=$1
    [[ ! -f ${name} ]] || name=$(basename "${name}" .zip)
    tr -c 'A-Za-z0-9._\n-' _ <<<"${name}"
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
# for_all_speech COMMAND: run COMMAND TEXT NAME AUDIO.scp DIR for the noisy, clean and
# enhanced speech of all test sets.
for_all_speech() {
    local set output dir text
    for set in ${test_sets}; do
        text=${raw}/${set}/text
        need "${text}" "word error rates need transcripts: add data/${set}/text and run stage 3"
        for output in noisy clean ${pcs_outputs}; do
            case ${output} in
                noisy) "$1" "${text}" "noisy_${set}" "${raw}/${set}/wav.scp" \
                    "${raw}/${set}/scoring/${inference_asr_tag}" ;;
                clean) "$1" "${text}" "clean_${set}" "${raw}/${set}/spk1.scp" \
                    "${raw}/${set}/scoring/${inference_asr_tag}_clean" ;;
                *)
                    dir=$(enhanced_dir "${set}" "${output}")
                    need "${dir}/spk1.scp" "run stage 7 first"
                    "$1" "${text}" "${dir##*/}" "${dir}/spk1.scp" \
                        "${dir}/scoring/${inference_asr_tag}"
                    ;;
            esac
        done
    done
}
recognise() { # TEXT NAME AUDIO.scp DIR
    local options=(--ngpu "$([[ ${gpu_inference} == true ]] && echo 1 || echo 0)") read=("$3")
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
    local made_with
    made_with=$(content "${read[@]}")
    step "$4/.recognised" "${made_with}" recognise_in_jobs "${made_with}" "$3" "$4/logdir" \
        "${options[@]}" "${inference_asr_args_words[@]}"
}
# recognise_in_jobs CONTENT AUDIO.scp LOGDIR OPTION...: what an earlier attempt has not.
recognise_in_jobs() {
    local key="$*" audio=$2 logdir=$3
    shift 3
    begin_or_go_on "${logdir}" "${key}"
    infer espnet2.bin.asr_inference speech "${audio}" "${logdir}" "$@"
    rm "${logdir}/.begun" # what is finished and to be redone begins anew
}
count_errors() { # TEXT NAME AUDIO.scp DIR
    need "$4/.recognised" "run stage 9 first"
    bspmpnet score_text --ref "$1" --output "$4" --name "$2" --asr "${inference_asr_tag}" \
        --ignore "${asr_ignore}" "$4"/logdir/output.*/1best_recog/text
}

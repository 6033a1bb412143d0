# shellcheck shell=bash
# What the stages of enh.sh are made of; sourced by it, uses its options.
# shellcheck disable=SC2034,SC2154 # its options

log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') $*"; }
need() { [[ -f $1 ]] || fail "$1 is missing; $2"; } # FILE FIX
in_stage() { ((stage <= $1 && stop_stage >= $1)) && log "stage $1: $2"; }
can() { [[ " ${cmd_can} " == *" $1 "* ]]; } # whether cmd.sh's commands have this ability
words() { xargs -rn 1 printf '%s\n' <<<"$1"; } # splits options; quotes keep words together
# step MARKER OPTION... -- COMMAND...: run COMMAND, unless MARKER says that it is done. The
# OPTIONs are those of bspmpnet begin_step: what COMMAND reads.
step() {
    local options=() message status=0
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    message=$(bspmpnet begin_step "${options[@]}" --runs "$*") || status=$?
    [[ -z ${message} ]] || log "  ${message}"
    ((status != 3)) || return 0 # there is nothing to run
    ((status == 0)) || exit "${status}"
    "$@"
    bspmpnet end_step "${options[0]}"
}
# in_parts LIST LOG COMMAND...: run COMMAND --part JOB/N as jobs, no more than LIST has lines.
# If one fails, what the others did is kept. COMMAND alone then finds all done and finishes.
in_parts() {
    local list=$1 log=$2 jobs=0 show=()
    shift 2
    ! can echo || show=(--echo '(?P<progress>.+: +[0-9]+%[|].*)')
    [[ ! -f ${list} ]] || jobs=$(wc -l <"${list}")
    jobs=$((jobs < nj ? jobs : nj))
    ((jobs == 0)) || "${train_cmd_words[@]}" --num_threads 1 "${show[@]}" "JOB=1:${jobs}" \
        "${log}.JOB.log" "$@" --nj 1 --part "JOB/${jobs}"
    "$@" --nj 1 >/dev/null
}

train_network() {
    local command=("${cuda_cmd_words[@]}" --gpu "${ngpu}") mode part
    ((num_nodes == 1)) || command+=(--num_nodes "${num_nodes}")
    ! can echo || command+=(--echo
        'INFO: (\[Early stopping\].*|epoch [0-9]+/[0-9]+(?P<progress>: step)? .*)')
    command+=("${enh_exp}/train.log" "${python}" -m espnet2_bspmpnet.bin.enh_train
        --config "${train_config}")
    for mode in train valid; do
        for part in wav.scp,speech_mix spk1.scp,speech_ref1; do
            command+=("--${mode}_data_path_and_name_and_type" "${!mode}/${part},sound"
                "--${mode}_shape_file" "${enh_stats_dir}/${mode}/${part#*,}_shape")
        done
    done
    if [[ -f ${raw}/${noises}/noise_db_range ]]; then # rooms are snr_range's alone: ESPnet's 0
        command+=(--noise_scp "${raw}/${noises}/wav.scp" --short_noise_thres 0 --rir_apply_prob 0
            "--noise_db_range=$(<"${raw}/${noises}/noise_db_range")")
        [[ ! -d ${raw}/${rooms} ]] || command+=(--rir_scp "${raw}/${rooms}/wav.scp")
    fi
    command+=(--fold_length 80000 --fold_length 80000 --resume true --ngpu "${ngpu}"
        --multiprocessing_distributed true)
    if ((num_nodes > 1)); then # the job's command knows which machine will be the first
        command+=(--dist_launcher slurm --dist_master_addr MASTER_ADDR)
        ((ngpu > 0)) || command+=(--dist_backend gloo)
    fi
    command+=(--output_dir "${enh_exp}")
    [[ -z ${init_param} ]] || command+=(--init_param "${init_param_words[@]}")
    step "${enh_exp}/.trained" --reads "${train_config}" --resume "${resume}" \
        --trained_on "${train}" "${valid}" "${raw}/${noises}" "${raw}/${rooms}" -- \
        "${command[@]}" "${enh_args_words[@]}"
}

config_of() { # NAME: the recipe's own configuration of that name, or the one for all recipes
    [[ -f conf/$1.yaml ]] && echo "conf/$1.yaml" || echo "${root}/conf/$1.yaml"
}
enhanced_dir() { # SET OUTPUT: where it goes
    local dir=${enh_exp}/${inference_tag}_$1
    [[ $2 == natural ]] && echo "${dir}" || echo "${dir}_$2"
}
# infer MODULE INPUT AUDIO.scp LOGDIR OPTION...: run MODULE in jobs on what is missing.
infer() {
    local module=$1 input=$2 audio=$3 logdir=$4 jobs
    shift 4
    jobs=$(bspmpnet split_keys --scp "${audio}" --num "${inference_nj}" --logdir "${logdir}" \
        --wait "$(can wait && echo true || echo false)" \
        --recognise "$([[ ${module} == *asr* ]] && echo true || echo false)")
    [[ -z ${jobs} ]] || "${inference_cmd_words[@]}" "JOB=${jobs}" \
        "${logdir}/${module##*.}.JOB.log" "${python}" -m "${module}" "$@" \
        --data_path_and_name_and_type "${audio},${input},sound" \
        --key_file "${logdir}/keys.JOB.scp" --output_dir "${logdir}/output.JOB"
}
enhance() { # DATA DIR OPTION...: what an earlier attempt with the same OPTIONs has not
    infer espnet2_bspmpnet.bin.enh_inference speech_mix "$1/wav.scp" "$2/logdir" \
        "${@:3}" --fs "${fs}" --resume true
    bspmpnet join_enhanced --scp "$1/wav.scp" --logdir "$2/logdir" --output_dir "$2"
}

score() { # DATA DIR AUDIO.scp OPTION...: score into DIR
    step "$2/.done" --reads "$1" "$3" -- in_parts "$3" "$2/logdir/score" \
        bspmpnet score --ref "$1/spk1.scp" --output "$2" \
        ${scoring_protocol:+--metrics "${scoring_protocol}"} "${@:4}" "$3"
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
    bspmpnet results --expdir "${experiments}" --output "${experiments}/RESULTS.md" \
        "${experiments}" "${noisy[@]}" >/dev/null
}

pack_model() { # with paths such as exp/enh_...: an absolute one would be unpacked there
    local top within images=() # curves of the training
    top=$(realpath "${enh_exp}/../..")
    within=$(realpath "${enh_exp}" --relative-to "${top}")
    python=$(realpath --no-symlinks "$(type -P "${python}")")
    [[ ! -d ${enh_exp}/images ]] || images=(--option "${within}/images")
    (
        cd "${top}" || exit
        "${python}" -m espnet2_bspmpnet.bin.pack enh --outpath "${within}/${packed##*/}" \
            --train_config "${within}/config.yaml" \
            --model_file "${within}/${inference_model}" \
            --option "${within}/RESULTS.md" "${images[@]}"
    )
}
name_of_model() { # OWNER/NAME|FILE.zip: as a folder's name
    local name=$1
    [[ ! -f ${name} ]] || name=$(basename "${name}" .zip)
    tr -c 'A-Za-z0-9._\n-' _ <<<"${name}"
}

# shellcheck shell=bash
# shellcheck disable=SC2317 # functions that traps call
# shellcheck disable=SC2154 # set in the lines that slurm.py writes above these:
# array, status_prefix, max_requeues, num_nodes, num_threads, command
#
# Runs the command and writes its exit status to a file as the last act. When the time limit
# is near, or Slurm takes the machine away with notice, the job goes back to the queue. A job
# that Slurm ends writes no status: Slurm knows the reason.
number=${SLURM_ARRAY_TASK_ID:-1}
# An array's last job has the array's own number, which stands for all of its jobs.
id=${SLURM_JOB_ID}
[[ -z ${SLURM_ARRAY_JOB_ID:-} ]] || id=${SLURM_ARRAY_JOB_ID}_${number}
[[ -z ${array} ]] || command=("${command[@]//${array}/${number}}")
status_file=${status_prefix}.${number}.status

finish() { # STATUS
    local reason=
    (($1 <= 128)) || reason=" (killed by signal $(($1 - 128)))"
    (($1 != 137)) || reason=" (killed by signal 9; was there too little memory?)"
    echo "# Ended (status $1)${reason} at $(date), after ${SECONDS} seconds"
    echo "$1" >"${status_file}.new" && mv "${status_file}.new" "${status_file}"
    exit "$1"
}
end_command() {
    local tenths
    kill -TERM "${child}" 2>/dev/null
    for ((tenths = 0; tenths < 300; tenths++)); do
        kill -0 "${child}" 2>/dev/null || return
        sleep 0.1
    done
}
requeue() { # WHY
    trap '' TERM USR1
    end_command
    echo "# $1: back to the queue at $(date), after ${SECONDS} seconds"
    if scontrol requeue "${id}"; then
        sleep 120 # Slurm ends this script
    fi
    echo "# Slurm does not take it back"
    finish 1
}
look_why() { # the command may have ended because Slurm ends the job
    local job
    job=$(scontrol --oneliner show job "${id}" 2>/dev/null) || return
    # SIGNALING is a running job that Slurm is about to end.
    if [[ ! ${job} =~ JobState=(RUNNING|SIGNALING) ]]; then
        echo "# Ended by Slurm at $(date), after ${SECONDS} seconds"
        exit 143
    fi
    [[ ! ${job} =~ PreemptTime=[0-9] ]] || requeue "Slurm needs the machine"
}
on_term() {
    trap '' TERM USR1
    end_command
    look_why
    finish 143
}

rm -f "${status_file}"
printf '#'
printf ' %q' "${command[@]}"
printf '\n# Started at %s on %s, Slurm job %s\n#\n' "$(date)" "$(hostname)" "${id}"
if ((${SLURM_RESTART_COUNT:-0} > max_requeues)); then
    echo "# Back from the queue more often than --max_requeues ${max_requeues}: given up"
    finish 1
fi
if ((num_nodes > 1)); then
    # The machine that rank 0 runs on, by the address that Slurm itself reaches it at,
    # and a port that is free there, which is here.
    first=$(scontrol show hostnames "${SLURM_JOB_NODELIST}" | head -n 1)
    MASTER_ADDR=$(scontrol --oneliner show node "${first}" | grep -o 'NodeAddr=[^ ]*')
    MASTER_ADDR=${MASTER_ADDR#NodeAddr=}
    MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
    while (exec 3<>"/dev/tcp/127.0.0.1/${MASTER_PORT}") 2>/dev/null; do
        MASTER_PORT=$((MASTER_PORT + 1))
    done
    export MASTER_ADDR MASTER_PORT
    command=(
        srun --nodes="${num_nodes}" --ntasks="${num_nodes}" --ntasks-per-node=1
        --cpus-per-task="${num_threads}" --kill-on-bad-exit=1
        "${command[@]//MASTER_ADDR/${MASTER_ADDR}}"
    )
fi

trap 'requeue "The time limit is near"' USR1
trap on_term TERM
"${command[@]}" </dev/null &
child=$!
wait "${child}"
status=$?
((status <= 128)) || look_why
finish "${status}"

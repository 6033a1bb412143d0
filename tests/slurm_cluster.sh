#!/usr/bin/env bash
# A Slurm of two nodes on this one machine, for tests: all its files are in DIR.
#
#   tests/slurm_cluster.sh start DIR    then: export SLURM_CONF=DIR/slurm.conf
#   tests/slurm_cluster.sh stop DIR
#
# Partitions: "normal", and "urgent", whose jobs put those of "normal" back in the queue.
# A job that was put back starts two minutes later, which Slurm does not let one change; for
# one job: scontrol update jobid=ID StartTime=now.
# Needs Debian's slurm-wlm and munge, and root. To start it twice, or to stop what does not
# run, does nothing; a start after a stop begins with an empty queue.
set -euo pipefail

PROGRAMS=(munged mungekey slurmctld slurmd sbatch srun squeue scontrol scancel)
DAEMONS=(slurmd-node-1 slurmd-node-2 slurmctld munged) # in the order of their end
WAIT_TENTHS=300 # how long to wait for a daemon to start or to end
PATH=${PATH}:/usr/sbin:/sbin

fail() {
    echo "slurm_cluster.sh: error: $*" >&2
    exit 1
}
alive() { # DAEMON: whether it runs; a process that took its number over is not it
    local pid
    pid=$(cat "${dir}/run/$1.pid" 2>/dev/null) && [[ -r /proc/${pid}/cmdline ]] &&
        tr '\0' ' ' <"/proc/${pid}/cmdline" | grep -q -F "${dir}"
}
wait_until() { # WHAT COMMAND...
    local what=$1 tenth
    shift
    for ((tenth = 0; tenth < WAIT_TENTHS; tenth++)); do
        ! "$@" || return 0
        sleep 0.1
    done
    tail -n 5 "${dir}"/log/* >&2
    fail "${what}: waited in vain; the logs are in ${dir}/log"
}
free_ports() { # N
    python3 - "$1" <<'PYTHON'
import socket
import sys

sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}
write_configuration() {
    local controller node_1 node_2 node
    read -r controller node_1 node_2 < <(free_ports 3)
    node="NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 Gres=gpu:2"
    # GPUs that jobs can ask for; nothing opens these devices.
    printf 'Name=gpu File=/dev/%s\n' null zero >"${dir}/gres.conf"
    cat >"${dir}/slurm.conf" <<CONFIGURATION
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=${controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=${dir}/run/munge.socket
StateSaveLocation=${dir}/state
SlurmctldPidFile=${dir}/run/slurmctld.pid
SlurmctldLogFile=${dir}/log/slurmctld.log
SlurmdSpoolDir=${dir}/spool/%n
SlurmdPidFile=${dir}/run/slurmd-%n.pid
SlurmdLogFile=${dir}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=2
MessageTimeout=30
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=node-1 Port=${node_1} ${node}
NodeName=node-2 Port=${node_2} ${node}
PartitionName=normal Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 GraceTime=10 State=UP
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=9 State=UP
CONFIGURATION
}
start() {
    local program missing=() daemon
    for program in "${PROGRAMS[@]}"; do
        type -P "${program}" >/dev/null || missing+=("${program}")
    done
    ((${#missing[@]} == 0)) ||
        fail "${missing[*]} not found; run: apt-get install slurm-wlm munge"
    ((EUID == 0)) || fail "only root can start Slurm's daemons"
    for daemon in "${DAEMONS[@]}"; do
        if alive "${daemon}"; then
            is_up || fail "${daemon} runs, but the cluster is not up; stop it first"
            return
        fi
    done
    rm -rf "${dir:?}"/{run,log,state,spool}
    mkdir -p "${dir}"/{run,log,state,spool/node-1,spool/node-2}
    [[ -f ${dir}/munge.key ]] || mungekey --create --keyfile "${dir}/munge.key"
    write_configuration
    munged --force --key-file "${dir}/munge.key" --socket "${dir}/run/munge.socket" \
        --pid-file "${dir}/run/munged.pid" --log-file "${dir}/log/munged.log" \
        --seed-file "${dir}/run/munge.seed"
    # Each names the configuration, by which "alive" knows it.
    slurmctld -c -f "${dir}/slurm.conf"
    for daemon in node-1 node-2; do
        slurmd -c -f "${dir}/slurm.conf" -N "${daemon}"
    done
    wait_until "the nodes" is_up
}
is_up() {
    [[ $(sinfo --noheader --Node --partition normal --format %T 2>/dev/null) =~ \
        ^(idle|mixed|allocated)$'\n'(idle|mixed|allocated)$ ]]
}
stop() {
    local daemon
    if alive slurmctld; then
        scancel --user root || true
        wait_until "the end of the jobs" is_empty
    fi
    for daemon in "${DAEMONS[@]}"; do
        ! alive "${daemon}" || kill "$(<"${dir}/run/${daemon}.pid")"
    done
    for daemon in "${DAEMONS[@]}"; do
        wait_until "the end of ${daemon}" eval "! alive ${daemon}"
    done
}
is_empty() { [[ -z $(squeue --noheader 2>&1) ]]; }

[[ $# == 2 && $1 =~ ^(start|stop)$ ]] || fail "usage: slurm_cluster.sh start|stop DIR"
mkdir -p "$2"
dir=$(realpath "$2")
[[ ${dir} != *[[:space:]%]* ]] || fail "${dir}: Slurm takes no such characters"
((${#dir} <= 60)) || fail "${dir}: too long a path for Slurm's sockets; take a shorter one"
export SLURM_CONF=${dir}/slurm.conf
"$1"

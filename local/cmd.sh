# shellcheck shell=bash disable=SC2034 # used by the stage script
# How jobs are run: on this machine or, with --backend slurm, on a cluster. A recipe has a
# link to this file; one that is run elsewhere otherwise may have a cmd.sh of its own. Each
# command is called as
#   CMD --gpu N --num_threads N [JOB=1:N] LOG COMMAND ...
# as Kaldi's slurm.pl, queue.pl and run.pl are, which may be named here with their options:
#   cuda_cmd="slurm.pl --config conf/slurm.conf"
#
# cmd_can lists what these commands can do besides; without it, as with Kaldi's, nothing:
#   echo        --echo REGEX prints the lines of a log that match, as they come
#   num_nodes   --num_nodes M runs a job on M machines at once
#   wait        jobs outlive their command, and the same command waits for them

cmd_backend=${backend:-local}
case ${cmd_backend} in
    local)
        train_cmd="bspmpnet-run"  # preparing data and scoring, on CPUs
        cuda_cmd="bspmpnet-run"   # training, and enhancing on GPUs
        decode_cmd="bspmpnet-run" # enhancing on CPUs
        cmd_can="echo"
        ;;
    slurm) # --slurm_args "--partition P --time T --mem M" is for all of them
        train_cmd="bspmpnet-slurm ${slurm_args:-}"
        cuda_cmd="bspmpnet-slurm ${slurm_args:-}"
        decode_cmd="bspmpnet-slurm ${slurm_args:-}"
        cmd_can="echo num_nodes wait"
        ;;
    *)
        echo "cmd.sh: error: --backend ${cmd_backend}: give local or slurm" >&2
        exit 2
        ;;
esac

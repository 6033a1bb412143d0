# shellcheck shell=bash disable=SC2034 # used by the stage script
# How jobs are run: on this machine or, with --backend slurm, on a cluster. A recipe has a
# link to this file; one that is run elsewhere otherwise may have a cmd.sh of its own. Each
# command is called as
#   CMD --gpu N --num_threads N [JOB=1:N] LOG COMMAND ...
# as Kaldi's slurm.pl, queue.pl and run.pl are, which may be named here with their options:
#   cuda_cmd="slurm.pl --config conf/slurm.conf"

cmd_backend=${backend:-local}
case ${cmd_backend} in
    local)
        train_cmd="bspmpnet-run"  # preparing data and scoring, on CPUs
        cuda_cmd="bspmpnet-run"   # training, and enhancing on GPUs
        decode_cmd="bspmpnet-run" # enhancing on CPUs
        ;;
    slurm) # --slurm_args "--partition P --time T --mem M" is for all of them
        train_cmd="bspmpnet-slurm ${slurm_args:-}"
        cuda_cmd="bspmpnet-slurm ${slurm_args:-}"
        decode_cmd="bspmpnet-slurm ${slurm_args:-}"
        ;;
    *)
        echo "cmd.sh: error: --backend ${cmd_backend}: give local or slurm" >&2
        exit 2
        ;;
esac

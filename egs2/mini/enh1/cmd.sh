# shellcheck shell=bash disable=SC2034 # used by the stage script
# How jobs are run. bspmpnet-run starts them on this machine. On a cluster, put Kaldi's
# slurm.pl, queue.pl or the like here, with its options, for example
#   cuda_cmd="slurm.pl --config conf/slurm.conf"
# Each is called as: CMD --gpu N [JOB=1:N] LOG COMMAND ... Data are prepared and scored on
# this machine, by --nj processes.

cuda_cmd="bspmpnet-run"   # training, and enhancing on GPUs
decode_cmd="bspmpnet-run" # enhancing on CPUs

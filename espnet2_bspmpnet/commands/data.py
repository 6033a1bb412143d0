"""Commands of stages 2 to 7 around data directories and training configs."""

import argparse
import sys
from collections.abc import Callable

from espnet2_bspmpnet.commands.options import (
    add_nj,
    add_part,
    arguments,
    boolean,
    numbers,
    positive,
)
from espnet2_bspmpnet.sample_rate import sampling_rate

DONE = 3  # exit status: there is nothing to run
FORMATS = ("wav", "flac")


def check_data(options: argparse.Namespace) -> None:
    """Make sure that data directories are complete and their audio fits together."""
    from espnet2_bspmpnet.data.datadir import DataDir, check_pairs

    for path in options.directories:
        datadir = DataDir.read(path, options.need_reference)
        check_pairs(datadir)
        print(f"{path}: {len(datadir.wav)} utterances, all well")


def speed_perturb(options: argparse.Namespace) -> None:
    """Add copies played slower and faster (stage 2)."""
    from espnet2_bspmpnet.data import dataprep

    dataprep.speed_perturb(**arguments(options))


def format_data(options: argparse.Namespace) -> None:
    """Bring all audio to one rate and format (stage 3)."""
    from espnet2_bspmpnet.data import dataprep

    dataprep.format_data(**arguments(options))


def filter_data(options: argparse.Namespace) -> None:
    """Drop utterances that are too short or too long (stage 4)."""
    from espnet2_bspmpnet.data import dataprep

    dataprep.filter_data(**arguments(options))


def collect_stats(options: argparse.Namespace) -> None:
    """Write the shape files that ESPnet trains with (stage 5)."""
    from espnet2_bspmpnet.data import dataprep

    dataprep.collect_stats(**arguments(options))


def check_config(options: argparse.Namespace) -> None:
    """Check a training config before hours are spent on it."""
    from espnet2_bspmpnet.training import config

    config.check_config(options.file)


def show_config(options: argparse.Namespace) -> None:
    """Show a training config with all that it inherits, as stock ESPnet reads it."""
    from espnet2_bspmpnet.files.atomic import write_text
    from espnet2_bspmpnet.files.configurations import dump_config, read_config

    text = dump_config(read_config(options.file))
    if options.output is None:
        print(text, end="")
    else:
        write_text(options.output, text)


def split_keys(options: argparse.Namespace) -> None:
    """Split what is still to be done into LOGDIR/keys.N.scp; print the range of N."""
    from espnet2_bspmpnet.inference import attempts

    jobs = attempts.split_keys(**arguments(options))
    if jobs:
        print(f"{jobs[0]}:{jobs[-1]}")


def join_enhanced(options: argparse.Namespace) -> None:
    """Join the lists in LOGDIR/output.N and make sure that nothing is missing."""
    from espnet2_bspmpnet.inference import attempts

    attempts.join_enhanced(**arguments(options))


def begin_step(options: argparse.Namespace) -> None:
    """Ask whether a step is to be run, status 3 if it is done; make its place ready."""
    from espnet2_bspmpnet.jobs import state

    is_to_run, message = state.begin_step(**arguments(options))
    if message:
        print(message)
    if not is_to_run:
        sys.exit(DONE)


def end_step(options: argparse.Namespace) -> None:
    """Note that a step which begin_step let begin has ended well."""
    from espnet2_bspmpnet.jobs import state

    state.end_step(**arguments(options))


def add_commands(add: Callable) -> None:
    """Add these commands to the command line by `add(function)`."""
    argument = add(check_data)
    argument("directories", nargs="+", metavar="DIR", help="data directory")
    argument("--need_reference", type=boolean, default=True, help="true or false")

    for function in (speed_perturb, format_data, filter_data):
        argument = add(function)
        argument("--src", required=True, help="data directory to read")
        argument("--dst", required=True, help="data directory to make")
        if function is filter_data:
            argument("--min_wav_duration", type=float, required=True, help="seconds")
            argument("--max_wav_duration", type=float, required=True, help="seconds")
        else:
            argument("--audio_format", choices=FORMATS, default="wav", help="files")
            add_nj(argument)
            add_part(argument)
        if function is speed_perturb:
            argument("--factors", type=numbers, default="0.9 1.0 1.1", help="speeds")
        else:
            argument("--fs", type=sampling_rate, default="16k", help="sampling rate")

    argument = add(collect_stats)
    argument("--train", required=True, help="data directory")
    argument("--valid", required=True, help="data directory")
    argument("--output_dir", required=True, help="gets train/ and valid/")

    argument = add(check_config)
    argument("file", help="training config (YAML)")

    argument = add(show_config)
    argument("file", help="training config (YAML)")
    argument("--output", help="file to write it to; by default it is printed")

    argument = add(split_keys)
    argument("--scp", required=True, help="list of all that is to be done")
    argument("--num", type=positive, required=True, help="jobs")
    argument("--logdir", required=True, help="gets keys.N.scp; has earlier output.N")
    argument("--recognise", type=boolean, default=False, help="true: speech to text")
    waits = "true: the jobs' command waits for those of an earlier run in the queue"
    argument("--wait", type=boolean, default=False, help=waits)

    argument = add(join_enhanced)
    argument("--scp", required=True, help="list of all that was to be enhanced")
    argument("--logdir", required=True, help="has output.N of all jobs")
    argument("--output_dir", required=True, help="gets spk1.scp and utt2seconds")

    argument = add(begin_step)
    argument("marker", help="file that is there if the step is done, e.g. DIR/.done")
    argument(
        "--reads", nargs="*", default=(), metavar="PATH", help="what it depends on"
    )
    completes = "where its command completes what the same command has begun; "
    completes += "emptied if that was another"
    argument("--resumes_in", metavar="DIR", help=completes)
    data = "for a training: its data, which are not to change"
    argument("--trained_on", nargs="+", default=(), metavar="DIR", help=data)
    resume = "for a training: true or false"
    argument("--resume", type=boolean, default=True, help=resume)
    runs = "its command, as one word"
    argument("--runs", metavar="COMMAND", required=True, help=runs)

    argument = add(end_step)
    argument("marker", help="file that is now made")

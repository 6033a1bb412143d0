"""`bspmpnet`: each subcommand parses its options and calls one function."""

import argparse
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.parallel import available_cores


def _sampling_rate(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(k?)", text.lower())
    rate = float(found[1]) * (1000 if found[2] else 1) if found else 0.0
    if rate < 1 or rate != int(rate):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate; write 16000 or 16k")
    return int(rate)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _factors(text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.replace(",", " ").split()))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of numbers; write for example '0.9 1.0 1.1'"
        ) from error


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _named(text: str) -> tuple[str, str]:
    """Split NAME=PATH; without a name the first part is empty."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and "/" not in name else ("", text)


def mini_corpus(options: argparse.Namespace) -> None:
    """Synthesise the embedded corpus and its data directories."""
    from espnet2_bspmpnet.corpora import mini

    mini.prepare(**_arguments(options))


def pairs_corpus(options: argparse.Namespace) -> None:
    """Make data directories from your own folders of noisy and clean files."""
    from espnet2_bspmpnet.corpora import pairs

    pairs.prepare(**_arguments(options))


def pairs_set(options: argparse.Namespace) -> None:
    """Make one data directory of pairs, such as a further test set."""
    from espnet2_bspmpnet.corpora import pairs

    pairs.prepare_set(**_arguments(options))


def check_data(options: argparse.Namespace) -> None:
    """Make sure that data directories are complete and their audio fits together."""
    from espnet2_bspmpnet.datadir import DataDir, check_pairs

    for path in options.directories:
        datadir = DataDir.read(path, options.need_reference)
        check_pairs(datadir)
        print(f"{path}: {len(datadir.wav)} utterances, all well")


def speed_perturb(options: argparse.Namespace) -> None:
    """Add copies played slower and faster (stage 2)."""
    from espnet2_bspmpnet import dataprep

    dataprep.speed_perturb(**_arguments(options))


def format_data(options: argparse.Namespace) -> None:
    """Bring all audio to one rate and format (stage 3)."""
    from espnet2_bspmpnet import dataprep

    dataprep.format_data(**_arguments(options))


def filter_data(options: argparse.Namespace) -> None:
    """Drop utterances that are too short or too long (stage 4)."""
    from espnet2_bspmpnet import dataprep

    dataprep.filter_data(**_arguments(options))


def collect_stats(options: argparse.Namespace) -> None:
    """Write the shape files that ESPnet trains with (stage 5)."""
    from espnet2_bspmpnet import dataprep

    dataprep.collect_stats(**_arguments(options))


def check_config(options: argparse.Namespace) -> None:
    """Check a training config before hours are spent on it."""
    from espnet2_bspmpnet import config

    config.check_config(options.file)


def show_config(options: argparse.Namespace) -> None:
    """Show a training config with all that it inherits, as stock ESPnet reads it."""
    from espnet2_bspmpnet import config
    from espnet2_bspmpnet.atomic import write_text

    text = config.dump_config(config.read_config(options.file))
    if options.output is None:
        print(text, end="")
    else:
        write_text(options.output, text)


def split_scp(options: argparse.Namespace) -> None:
    """Split a list for parallel jobs into keys.1.scp ...; print how many were made."""
    from espnet2_bspmpnet import dataprep

    print(dataprep.split_scp(options.scp, options.num, options.dir))


def merge_scp(options: argparse.Namespace) -> None:
    """Join the lists of parallel jobs and make sure that none is missing."""
    from espnet2_bspmpnet import dataprep

    dataprep.merge_scp(options.parts, options.output, options.expected)


def score(options: argparse.Namespace) -> None:
    """Score speech; write utterances.tsv, summary.json and RESULTS.md, and print it."""
    from espnet2_bspmpnet import scoring

    names = [name for name, _ in options.inf]
    if len(set(names)) != len(names) or (len(names) > 1 and "" in names):
        raise UserError(
            "--inf: give each of several systems a name of its own, --inf NAME=PATH"
        )
    arguments = _arguments(options)
    if names == [""]:
        ((_, arguments["inf"]),) = options.inf
    else:
        arguments["inf"] = dict(options.inf)
    scoring.score(**arguments)
    print(Path(options.output, "RESULTS.md").read_text(encoding="utf-8"), end="")


def results(options: argparse.Namespace) -> None:
    """Write RESULTS.md from folders of scores and print its tables."""
    from espnet2_bspmpnet import report

    rows = []
    for name, folder in options.rows:
        rows += report.find_scores(folder, name)
    expdir = options.expdir or Path(options.output).resolve().parent
    config = report.trained_with(expdir)
    tables = report.write_results(options.output, Path(expdir).name, config, rows)
    print(tables, end="")


def report(options: argparse.Namespace) -> None:
    """Write one HTML page that shows an experiment: EXP_DIR/report/index.html."""
    from espnet2_bspmpnet import html_report

    print(html_report.write_report(**_arguments(options)))


def _arguments(options: argparse.Namespace) -> dict:
    arguments = vars(options).copy()
    del arguments["command"], arguments["function"]
    return arguments


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.default is None:
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bspmpnet",
        description="Data preparation, scoring and reports of BSP-MPNet's recipes. "
        "Options may be written with _ or with -.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(function: Callable) -> Callable:
        command = commands.add_parser(
            function.__name__,
            help=function.__doc__,
            description=function.__doc__,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(function=function)
        return command.add_argument

    def add_nj(argument: Callable) -> None:
        argument(
            "--nj", type=_positive, default=available_cores(), help="worker processes"
        )

    argument = add(mini_corpus)
    argument("--corpus_dir", required=True, help="for audio and logs")
    argument("--data_dir", required=True, help="for the data directories")
    argument("--seed", type=int, default=0, help="same seed, same samples")
    argument("--num_train", type=_positive, default=600, help="training utterances")
    argument("--num_valid", type=_positive, default=24, help="validation utterances")
    argument("--num_test", type=_positive, default=24, help="test utterances")
    add_nj(argument)

    argument = add(pairs_corpus)
    argument("--noisy_dir", required=True, help="folder of noisy files")
    argument("--clean_dir", required=True, help="folder of clean files, same names")
    for part in ("valid", "test"):
        argument(f"--{part}_noisy_dir", help=f"noisy files of the {part} set")
        argument(f"--{part}_clean_dir", help=f"clean files of the {part} set")
    argument("--data_dir", required=True, help="for the data directories")
    for part in ("train", "valid", "test"):
        argument(f"--{part}_set", required=True, help=f"name of the {part} set")

    argument = add(pairs_set)
    argument("--noisy_dir", required=True, help="folder of noisy files")
    argument("--clean_dir", required=True, help="folder of clean files, same names")
    argument("--data_dir", required=True, help="to make, such as data/tt_mine")

    argument = add(check_data)
    argument("directories", nargs="+", metavar="DIR", help="data directory")
    argument("--need_reference", type=_boolean, default=True, help="true or false")

    for function in (speed_perturb, format_data):
        argument = add(function)
        argument("--src", required=True, help="data directory to read")
        argument("--dst", required=True, help="data directory to make")
        argument("--audio_format", choices=("wav", "flac"), default="wav", help="files")
        add_nj(argument)
        if function is speed_perturb:
            argument("--factors", type=_factors, default="0.9 1.0 1.1", help="speeds")
        else:
            argument("--fs", type=_sampling_rate, default="16k", help="sampling rate")

    argument = add(filter_data)
    argument("--src", required=True, help="data directory to read")
    argument("--dst", required=True, help="data directory to make")
    argument("--min_wav_duration", type=float, required=True, help="seconds")
    argument("--max_wav_duration", type=float, required=True, help="seconds")
    argument("--fs", type=_sampling_rate, default="16k", help="sampling rate")

    argument = add(collect_stats)
    argument("--train", required=True, help="data directory")
    argument("--valid", required=True, help="data directory")
    argument("--output_dir", required=True, help="gets train/ and valid/")

    argument = add(check_config)
    argument("file", help="training config (YAML)")

    argument = add(show_config)
    argument("file", help="training config (YAML)")
    argument("--output", help="file to write it to; by default it is printed")

    argument = add(split_scp)
    argument("--scp", required=True, help="list to split")
    argument("--num", type=_positive, required=True, help="parts")
    argument("--dir", required=True, help="gets keys.1.scp ...")

    argument = add(merge_scp)
    argument("--expected", required=True, help="list of the ids that must be there")
    argument("--output", required=True, help="joined list")
    argument("parts", nargs="+", metavar="PART", help="list of one job")

    argument = add(score)
    argument("--ref", required=True, help="clean speech: folder or wav.scp")
    argument(
        "--inf",
        type=_named,
        action="append",
        default=[],
        metavar="[NAME=]PATH",
        help="speech to judge: folder or wav.scp; repeat it for several systems",
    )
    argument("--noisy", help="unprocessed speech: folder or wav.scp")
    argument(
        "--output", required=True, help="folder; gets [PROTOCOL/][NAME/] where several"
    )
    argument(
        "--protocol",
        choices=("standard", "paper", "both"),
        default="standard",
        help="compare with clean speech, or as the paper with clean speech with PCS",
    )
    argument("--metrics", type=_words, help="names, such as 'PESQ STOI'; default: all")
    argument(
        "--natural",
        type=_words,
        default=(),
        metavar="NAMES",
        help="systems that the protocol paper applies PCS to first, as their spectral "
        "balance is natural (a system without a name is called enhanced)",
    )
    add_nj(argument)

    argument = add(results)
    argument("--expdir", help="folder of the experiment; by default that of the output")
    argument("--output", required=True, help="RESULTS.md to write")
    argument(
        "rows",
        nargs="+",
        type=_named,
        metavar="[NAME=]DIR",
        help="folder that scores are in or below; NAME is shown before theirs",
    )

    argument = add(report)
    argument("expdir", metavar="EXP_DIR", help="folder that scores are in or below")
    argument(
        "--data_dir",
        action="append",
        dest="data_dirs",
        metavar="DIR",
        help="data directory of a test set; repeat it for several; by default all of "
        "dump/raw/* whose utterances were scored",
    )
    argument(
        "--inference_model",
        dest="model",
        metavar="FILE",
        help="file in EXP_DIR whose weights of SSL layers are shown; by default the "
        "best by the first of best_model_criterion",
    )
    return parser


def _with_underscores(argv: Sequence[str]) -> list[str]:
    words = []
    for place, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            word = "--" + name[2:].replace("-", "_") + equals + value
        elif place == 0 and not word.startswith("-"):
            word = word.replace("-", "_")
        words.append(word)
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's own.

    Returns:
        Exit status: 0, 1 if the input is bad, 130 after Ctrl-C.

    Raises:
        SystemExit: status 2 if the command line is wrong, 0 after --help.
    """
    argv = sys.argv[1:] if argv is None else argv
    options = _parser().parse_args(_with_underscores(argv))
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr
    )
    prefix = f"bspmpnet {options.command}:"
    try:
        options.function(options)
    except UserError as error:
        print(f"{prefix} error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        culprit = f"{error.filename}: " if error.filename else ""
        print(f"{prefix} error: {culprit}{error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prefix} interrupted; run it again to complete it", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

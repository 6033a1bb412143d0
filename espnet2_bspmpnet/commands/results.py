"""Commands of stages 8 to 10: scores, word error rates, tables and pages."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from espnet2_bspmpnet.commands.options import add_nj, add_part, arguments, named, words
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sample_rate import sampling_rate
from espnet2_bspmpnet.scoring import BOTH, OLD_REFERENCES, REFERENCES


class _Reference(argparse.Action):
    """Take --reference; its old name and values with a notice."""

    def __call__(self, parser, namespace, values, option_string=None):
        reference = OLD_REFERENCES.get(values, values)
        if (option_string, values) != ("--reference", reference):
            notice = f"{option_string} {values} is now --reference {reference}"
            print(f"{parser.prog}: {notice}", file=sys.stderr)
        setattr(namespace, self.dest, reference)


def score(options: argparse.Namespace) -> None:
    """Score speech; write utterances.tsv, summary.json and RESULTS.md, and print it."""
    from espnet2_bspmpnet.scoring import folders

    systems = dict(options.inf)
    if len(systems) < len(options.inf) or ("" in systems and len(systems) > 1):
        raise UserError(
            "--inf: give each of several systems a name of its own, --inf NAME=PATH"
        )
    inf = systems.get("", systems)  # of a lone system the path alone
    folders.score(**arguments(options) | {"inf": inf})
    if options.part is None:
        print(Path(options.output, "RESULTS.md").read_text(encoding="utf-8"), end="")


def check_recogniser(options: argparse.Namespace) -> None:
    """Fetch a recogniser, and make sure that it is for this rate (stage 9)."""
    from espnet2_bspmpnet.scoring import word_errors
    from espnet2_bspmpnet.sharing import hub

    config = Path(options.model, "config.yaml")
    if not Path(options.model).is_dir():
        config = hub.fetch_recogniser(options.model).get("asr_train_config")
    if config is None:
        raise UserError(f"{options.model}: is no recogniser; name another model")
    word_errors.check_recogniser(config, options.fs)


def score_text(options: argparse.Namespace) -> None:
    """Word and character error rates of recognised speech (stage 10)."""
    from espnet2_bspmpnet.scoring import word_errors

    print(word_errors.score_text(**arguments(options)))


def results(options: argparse.Namespace) -> None:
    """Write RESULTS.md from folders of scores; print a short table and its path."""
    from espnet2_bspmpnet.scoring import score_tables, word_errors
    from espnet2_bspmpnet.scoring.results import write_results
    from espnet2_bspmpnet.scoring.scores import find_scores

    rows, error_rates = [], []
    for name, folder in options.rows:
        rows += find_scores(folder, name)
        error_rates += word_errors.find_error_rates(folder, name)
    sections = score_tables.sections_of(rows) + word_errors.error_sections(error_rates)
    expdir = options.expdir or Path(options.output).resolve().parent
    write_results(options.output, expdir, sections)
    print(score_tables.overview(rows).plain())
    print(f"All measures, intervals and differences: {options.output}")


def report(options: argparse.Namespace) -> None:
    """Write one HTML page that shows an experiment: EXP_DIR/report/index.html."""
    from espnet2_bspmpnet.report import experiment

    print(experiment.write_report(**arguments(options)))


def add_commands(add: Callable) -> None:
    """Add these commands to the command line by `add(function)`."""
    _add_score(add(score))
    _add_recognition(add)
    _add_tables(add)


def _add_score(argument: Callable) -> None:
    argument("--ref", required=True, help="clean speech: folder or wav.scp")
    argument(
        "--inf",
        type=named,
        action="append",
        default=[],
        metavar="[NAME=]PATH",
        help="speech to judge: folder or wav.scp; repeat it for several systems",
    )
    argument("--noisy", help="unprocessed speech: folder or wav.scp")
    argument(
        "--output", required=True, help="folder; gets [reference_*/][NAME/] if several"
    )
    argument(
        *("--reference", "--protocol"),
        action=_Reference,
        choices=(*REFERENCES, BOTH, *OLD_REFERENCES),
        metavar="{clean,pcs,both}",
        default="clean",
        help="compare with clean speech, or as the paper with PCS of it",
    )
    argument("--metrics", type=words, help="names, such as 'PESQ STOI'; default: all")
    argument(
        "--natural",
        type=words,
        default=(),
        metavar="NAMES",
        help="systems that --reference pcs applies PCS to first, as their spectral "
        "balance is natural (a system without a name is called enhanced)",
    )
    add_nj(argument)
    add_part(argument)


def _add_recognition(add: Callable) -> None:
    argument = add(check_recogniser)
    argument("model", help="folder of one, name in espnet_model_zoo, or packed model")
    argument("--fs", type=sampling_rate, default="16k", help="sampling rate")

    argument = add(score_text)
    argument("--ref", required=True, help="transcripts, lines '<id> <words>'")
    argument("--output", required=True, help="folder for wer.json and alignment.txt")
    argument("--name", required=True, help="of what was recognised, for the tables")
    argument("--asr", required=True, help="the recogniser, for the tables")
    argument(
        "--ignore",
        type=words,
        default="case punctuation",
        help="differences that are no errors: case, punctuation, both, or ''",
    )
    argument("hyp", nargs="+", metavar="TEXT", help="what one job recognised")


def _add_tables(add: Callable) -> None:
    argument = add(results)
    argument("--expdir", help="folder of the experiment; by default that of the output")
    argument("--output", required=True, help="RESULTS.md to write")
    argument(
        "rows",
        nargs="+",
        type=named,
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

"""The command that enhances recordings."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from espnet2_bspmpnet.commands.options import part_of_jobs, positive
from espnet2_bspmpnet.files.parallel import available_cores

OF_THE_MODEL = (
    "device",
    "precision",
    "pcs_output",
    "strength",
    "attenuation_limit",
    "high_band",
    "window",
)
FORMATS = ["wav", "flac", "ogg", "opus", "mp3", "aiff", "au", "caf", "w64", "rf64"]
BITS = ["16", "24", "32", "float"]
GIB_OF_A_PROCESS = 3  # besides the model


def enhance(options: argparse.Namespace) -> None:
    """Enhance recordings: files, folders, lists of files, or the standard input."""
    from espnet2_bspmpnet.inference import runner
    from espnet2_bspmpnet.inference.outputs import Outputs
    from espnet2_bspmpnet.inference.shards import WHOLE, array_shard

    _check_usage(options)
    settings = {name: getattr(options, name) for name in OF_THE_MODEL}
    load = partial(runner.load_enhancer, options.model, settings)
    outputs = Outputs(options.format, options.bits, options.normalize)
    if options.output_dir is None:
        runner.enhance_file(options.inputs[0], options.output or "-", load, outputs)
        return
    shard = options.shard or array_shard() or WHOLE
    if shard != WHOLE:
        print(f"share {shard[0]} of {shard[1]}", file=sys.stderr)
    selection = runner.Selection(shard, options.skip_existing, options.retry)
    nj = options.nj or _default_nj(options.device)
    try:
        runner.enhance_files(
            options.inputs, options.output_dir, load, outputs, selection, nj
        )
    finally:
        if options.page:
            _write_page(Path(options.output_dir), shard)


def _write_page(folder: Path, shard: tuple[int, int]) -> None:
    """Show the first recordings that were enhanced, before and after."""
    from espnet2_bspmpnet.inference.listing import STATE
    from espnet2_bspmpnet.inference.runner import MANIFEST
    from espnet2_bspmpnet.inference.shards import file_of
    from espnet2_bspmpnet.report.before_after import MOST_PAIRS, write_before_after

    manifest = file_of(folder / STATE, MANIFEST, shard)
    if not manifest.exists():  # nothing was enhanced
        return
    pairs = []
    with manifest.open(encoding="utf-8") as lines:
        for done in map(json.loads, islice(lines, MOST_PAIRS)):
            name = os.path.relpath(done["output"], folder)
            pairs.append((name, done["input"], done["output"]))
    if pairs:
        print(write_before_after(folder / "page", sorted(pairs), "bspmpnet enhance"))


def _check_usage(options: argparse.Namespace) -> None:
    """End with status 2 if options do not fit together."""
    is_one = len(options.inputs) == 1 and not os.path.isdir(options.inputs[0])
    reads_stdin = "-" in options.inputs
    if options.output is not None and options.output_dir is not None:
        problem = "give --output for one file, or --output_dir, not both"
    elif reads_stdin and (not is_one or options.output_dir is not None):
        problem = (
            "the standard input (-) is enhanced alone, to -o FILE or to the output"
        )
    elif options.page and options.output_dir is None:
        problem = "--page shows what is in an output folder: give --output_dir"
    elif options.output is not None and not is_one:
        problem = "--output is for one file; give --output_dir"
    elif options.output_dir is None and options.output is None and not reads_stdin:
        problem = "say where to: --output_dir OUT, or -o FILE for one file"
    elif not options.output_dir and (
        options.shard or options.retry or options.skip_existing
    ):
        problem = "--shard, --retry and --skip_existing go with --output_dir"
    elif options.output in (None, "-") and not options.output_dir and _is_terminal():
        problem = "sound is not for the terminal; give -o FILE, or put | or > after it"
    else:
        return
    print(f"bspmpnet enhance: error: {problem}", file=sys.stderr)
    sys.exit(2)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _default_nj(device: str) -> int:
    """Give the processes that the cores and the memory are enough for."""
    if device != "cpu":
        return 1
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            sizes = dict(line.split()[:2] for line in file)
        room = int(sizes["MemAvailable:"]) // (GIB_OF_A_PROCESS << 20)
    except (OSError, KeyError):  # another system than Linux
        room = available_cores()
    return max(1, min(available_cores(), room))


def add_commands(add: Callable) -> None:
    """Add this command to the command line by `add(function)`."""
    argument = add(enhance)
    argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="recording, folder, list of '<id> <path>' (.scp), or - for the standard"
        " input; any rate, channels and length",
    )
    argument(
        "--model",
        help="experiment's folder, packed model, or OWNER/NAME on the Hugging Face hub;"
        " default: the small one in the box",
    )
    argument("--output_dir", metavar="OUT", help="folder for outputs, as inputs lie")
    argument("-o", "--output", metavar="FILE", help="output for a single input")
    _add_model_options(argument)
    _add_format_options(argument)
    _add_run_options(argument)


def _add_model_options(argument: Callable) -> None:
    argument("--device", default="cpu", help="such as cpu, cuda or cuda:1")
    argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the network",
    )
    argument(
        "--pcs_output",
        choices=("natural", "boosted"),
        default="natural",
        help="boosted: with perceptual contrast stretching",
    )
    argument(
        "--high_band",
        choices=("follow", "keep", "drop"),
        default="follow",
        help="above 8 kHz: follow the gain from 4 to 8 kHz, stay, or be dropped",
    )
    argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="0..1",
        help="share of the enhanced signal in the output, the rest is the noisy one",
    )
    argument(
        "--attenuation_limit",
        type=float,
        metavar="DB",
        help="lower noise by no more than this; recognisers often prefer some noise",
    )
    argument(
        "--window",
        type=positive,
        metavar="SECONDS",
        help="enhance longer recordings piece by piece (default: 60, or what fits in"
        " 2 GiB)",
    )


def _add_format_options(argument: Callable) -> None:
    argument("--normalize", action="store_true", help="bring peaks to -1 dBFS")
    argument(
        "--format",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"of outputs: {', '.join(FORMATS)} (default: as the input)",
    )
    argument(
        "--bits",
        choices=BITS,
        help="of a sample (default: as the input)",
    )


def _add_run_options(argument: Callable) -> None:
    argument(
        "--nj",
        type=positive,
        help="processes (default: one a core as memory allows, or one on a GPU)",
    )
    argument(
        "--skip_existing",
        action="store_true",
        help="complete what an earlier run has begun",
    )
    argument("--retry", action="store_true", help="only what failed in the last run")
    argument(
        "--page",
        action="store_true",
        help="write OUT/page/index.html: the first recordings before and after",
    )
    argument(
        "--shard",
        type=part_of_jobs,
        metavar="K/N",
        help="only the k-th of n shares (default: by the task of a Slurm array)",
    )

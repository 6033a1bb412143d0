"""ESPnet's enh_inference for BSP-MPNet: in batches and windows, input checked, no clipping.

Beside each list of enhanced files it leaves utt2seconds: how long each took.  Without
``--use_espnet true``, and with no option but those below, ESPnet itself is not imported.
"""

import argparse
import logging
import sys
from pathlib import Path

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.experiments import CONFIG
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE, sampling_rate


def main(cmd=None) -> None:
    """Enhance, as ``espnet2.bin.enh_inference`` does; the default rate is 16 kHz."""
    words = sys.argv[1:] if cmd is None else list(cmd)
    options, others = _parser().parse_known_args(words)
    try:
        if others or options.use_espnet or not _is_ours(options):
            _by_separate_speech(words)
        else:
            _by_enhancer(options)
    except UserError as error:
        sys.exit(f"enh_inference: error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for name in ("train_config", "model_file", "inference_config", "key_file"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--data_path_and_name_and_type", action="append", default=[])
    parser.add_argument("--fs", type=sampling_rate, default=SAMPLE_RATE)
    parser.add_argument("--ngpu", type=int, default=0)
    _add_own(parser, _boolean)
    return parser


def _boolean(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r}: give true or false")
    return word.lower() == "true"


def _add_own(parser: argparse.ArgumentParser, boolean) -> None:
    """Add the options that ESPnet's enh_inference does not have."""
    parser.add_argument(
        "--resume",
        type=boolean,
        default=False,
        help="Leave out what this very command has enhanced before it was killed",
    )
    parser.add_argument(
        "--use_espnet",
        type=boolean,
        default=False,
        help="Enhance by ESPnet's SeparateSpeech, one utterance at a time; the way that"
        " all options are taken that are ESPnet's alone",
    )


def _is_ours(options: argparse.Namespace) -> bool:
    """Say whether one list and an experiment of this package's network are given."""
    from espnet2_bspmpnet.inference.datadirs import pcs_output_of

    config, model = options.train_config, options.model_file
    lists = [entry.split(",") for entry in options.data_path_and_name_and_type]
    return (
        [kind for *_, kind in lists] == ["sound"]
        and None not in (config, model)
        and all(map(_is_file, (config, model, options.inference_config)))
        and Path(config).name == CONFIG
        and Path(config).parent == Path(model).parent
        and (options.inference_config is None)
        == (pcs_output_of(options.inference_config) is None)
    )


def _is_file(path: str | None) -> bool:
    return path is None or Path(path).is_file()


def _by_enhancer(options: argparse.Namespace) -> None:
    from espnet2_bspmpnet.inference.datadirs import enhance_lists

    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    (entry,) = options.data_path_and_name_and_type
    options.wav_scp = entry.split(",")[0]
    enhance_lists(options)


def _by_separate_speech(words: list[str]) -> None:
    from espnet2.bin.enh_inference import get_parser
    from espnet2.utils.types import str2bool

    from espnet2_bspmpnet.inference.separate_speech import enhance_lists

    parser = get_parser()
    parser.set_defaults(fs=SAMPLE_RATE)
    _add_own(parser, str2bool)
    enhance_lists(parser.parse_args(words))


if __name__ == "__main__":
    main()

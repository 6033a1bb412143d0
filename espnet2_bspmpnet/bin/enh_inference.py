"""ESPnet's enh_inference with BSP-MPNet registered: input checked, time taken, no clipping.

Beside each list of enhanced files it leaves utt2seconds: how long each took.
"""

import sys
import time
from pathlib import Path

from espnet2_bspmpnet.data.audio import read_audio, write_audio
from espnet2_bspmpnet.data.datadir import TIMES, read_scp, write_scp
from espnet2_bspmpnet.errors import UserError, summary
from espnet2_bspmpnet.files.atomic import append_text
from espnet2_bspmpnet.inference.attempts import keep_enhanced
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE


def main(cmd=None) -> None:
    """Enhance, as ``espnet2.bin.enh_inference`` does; the default rate is 16 kHz."""
    from espnet2.bin import enh_inference
    from espnet2.utils.types import str2bool

    parser = enh_inference.get_parser()
    parser.set_defaults(fs=SAMPLE_RATE)
    parser.add_argument(
        "--resume",
        type=str2bool,
        default=False,
        help="Leave out what this very command has enhanced before it was killed",
    )
    options = vars(parser.parse_args(cmd))
    options.pop("config", None)
    resume = options.pop("resume")
    try:
        check_options(options)
        if resume and not leave_out_enhanced(options):
            return
        bad = leave_out_unreadable(options)
        stopwatch = Stopwatch()
        enh_inference.SeparateSpeech = stopwatch.timing(enh_inference.SeparateSpeech)
        enh_inference.SoundScpWriter = whole_file_writer(
            enh_inference.SoundScpWriter, stopwatch
        )
        enh_inference.inference(**options)
        if bad:
            raise summary(bad, stopwatch.calls + len(bad), "enhancing")
    except UserError as error:
        sys.exit(f"enh_inference: error: {error}")


def check_options(options: dict) -> None:
    """Check that the model is there and whole.

    Args:
        options: enh_inference's.

    Raises:
        UserError: names the file and the mend.
    """
    if options["model_tag"] is None:
        for name in ("train_config", "model_file", "inference_config"):
            path = options[name]
            if path is not None and not Path(path).is_file():
                raise UserError(
                    f"--{name}: {path} does not exist; train the model first"
                )
        if options["model_file"] is None:
            raise UserError("--model_file: name the trained model, or give --model_tag")
        check_model(options["model_file"])


def leave_out_enhanced(options: dict) -> bool:
    """Take what is in the output's lists, of an earlier start, off the list.

    Args:
        options: enh_inference's; where something is enhanced, key_file is replaced.

    Returns:
        Whether anything remains.
    """
    enhanced = keep_enhanced(options["output_dir"])
    lists = options["data_path_and_name_and_type"]
    wanted = read_scp(options["key_file"] or lists[0][0])
    remaining = {key: wanted[key] for key in wanted.keys() - enhanced}
    if enhanced:
        options["key_file"] = str(Path(options["output_dir"], "remaining.scp"))
        write_scp(options["key_file"], remaining)
    return bool(remaining)


def leave_out_unreadable(options: dict) -> list[UserError]:
    """Take files that cannot be enhanced off the list, so that the others are.

    ESPnet itself takes 8 kHz audio for 16 kHz without a word.

    Args:
        options: enh_inference's; where a file is bad, key_file is replaced.

    Returns:
        An error for each file that is unreadable or of another rate.

    Raises:
        UserError: no file is good.
    """
    keys = None
    if options["key_file"] is not None:
        keys = set(read_scp(options["key_file"]))
    good: dict[str, str] = {}
    errors = {}
    for path, _, kind in options["data_path_and_name_and_type"]:
        if kind != "sound":
            continue
        for key, wav in read_scp(path).items():
            if keys is None or key in keys:
                good[key] = wav
                try:
                    check_audio(wav, options["fs"])
                except UserError as error:
                    errors[key] = error
    if errors and len(errors) == len(good):
        raise summary(list(errors.values()), len(good), "enhancing")
    if errors:
        readable = Path(options["output_dir"], "readable.scp")
        write_scp(readable, {key: good[key] for key in good.keys() - errors.keys()})
        options["key_file"] = str(readable)
    return list(errors.values())


def check_audio(path: str, rate: int) -> None:
    """Make sure that a file can be read to its end and has the right rate.

    Args:
        path: audio file.
        rate: samples per second wanted.

    Raises:
        UserError: names the file and the mend.
    """
    _, found = read_audio(path)
    if found != rate:
        raise UserError(
            f"{path}: {found} Hz, but --fs is {rate}; resample it first "
            "(bspmpnet format_data does)"
        )


def check_model(path: str) -> None:
    """Refuse a torn or foreign model file by its name, which torch does not tell.

    Args:
        path: model file; only its directory of tensors is read.

    Raises:
        UserError: names the file and the mend.
    """
    import torch

    from espnet2_bspmpnet.files.checkpoints import DAMAGE, damage_reason

    try:
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except DAMAGE as error:
        raise UserError(
            f"--model_file: {path} is damaged or no trained model"
            f" ({damage_reason(error)}); copy it again, or name another of the epochs"
            " saved beside it"
        ) from None


class Stopwatch:
    """How many calls there were, and how many seconds the last one took."""

    calls = 0
    seconds = 0.0

    def timing(self, base: type) -> type:
        """A class whose calls are timed."""

        class Timed(base):
            def __call__(timed, *args, **kwargs):
                started = time.perf_counter()
                found = super().__call__(*args, **kwargs)
                self.seconds = time.perf_counter() - started
                self.calls += 1
                return found

        return Timed


def whole_file_writer(base: type, stopwatch: Stopwatch) -> type:
    """ESPnet's writer, but no file is half-written or clipped, and all are timed.

    What it has done is on its lists at once, as inference/attempts.py needs it.
    """

    class WholeFileWriter(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            Path(self.fscp.name).with_name(TIMES).unlink(missing_ok=True)

        def __setitem__(self, key, value):
            rate, signal = value
            path = self.dir / f"{key}.{self.format}"
            write_audio(path, signal, rate)
            paths = Path(self.fscp.name)
            append_text(paths.with_name(TIMES), f"{key} {stopwatch.seconds:.4f}\n")
            append_text(paths, f"{key} {path}\n")
            self.data[key] = str(path)

    return WholeFileWriter


if __name__ == "__main__":
    main()

"""ESPnet's enh_inference with BSP-MPNet registered: input checked, time taken, no clipping.

Beside each list of enhanced files it leaves utt2seconds: how long each took.
"""

import sys
import time
from pathlib import Path

from espnet2_bspmpnet.audio import audio_info, write_audio
from espnet2_bspmpnet.datadir import read_scp, write_scp
from espnet2_bspmpnet.errors import UserError


def main(cmd=None) -> None:
    """Enhance, as ``espnet2.bin.enh_inference`` does; the default rate is 16 kHz."""
    from espnet2.bin import enh_inference

    parser = enh_inference.get_parser()
    parser.set_defaults(fs=16000)
    options = vars(parser.parse_args(cmd))
    options.pop("config", None)
    try:
        check_options(options)
        stopwatch = Stopwatch()
        enh_inference.SeparateSpeech = stopwatch.timing(enh_inference.SeparateSpeech)
        enh_inference.SoundScpWriter = whole_file_writer(
            enh_inference.SoundScpWriter, stopwatch
        )
        enh_inference.inference(**options)
    except UserError as error:
        sys.exit(f"enh_inference: error: {error}")


def check_options(options: dict) -> None:
    """Check that the model and the audio are there and of the right rate.

    ESPnet itself takes 8 kHz audio for 16 kHz without a word.

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
    keys = None
    if options["key_file"] is not None:
        keys = set(read_scp(options["key_file"]))
    for path, _, kind in options["data_path_and_name_and_type"]:
        if kind != "sound":
            continue
        for key, wav in read_scp(path).items():
            if keys is None or key in keys:
                info = audio_info(wav)
                if info.rate != options["fs"]:
                    raise UserError(
                        f"{wav}: {info.rate} Hz, but --fs is {options['fs']}; resample"
                        " it first (bspmpnet format_data does)"
                    )


def check_model(path: str) -> None:
    """Refuse a torn or foreign model file by its name, which torch does not tell.

    Args:
        path: model file; only its directory of tensors is read.

    Raises:
        UserError: names the file and the mend.
    """
    import torch

    from espnet2_bspmpnet.checkpoints import DAMAGE, damage_reason

    try:
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except DAMAGE as error:
        raise UserError(
            f"--model_file: {path} is damaged or no trained model"
            f" ({damage_reason(error)}); copy it again, or name another of the epochs"
            " saved beside it"
        ) from None


class Stopwatch:
    """How many seconds the last call took."""

    seconds = 0.0

    def timing(self, base: type) -> type:
        """A class whose calls are timed."""

        class Timed(base):
            def __call__(timed, *args, **kwargs):
                started = time.perf_counter()
                found = super().__call__(*args, **kwargs)
                self.seconds = time.perf_counter() - started
                return found

        return Timed


def whole_file_writer(base: type, stopwatch: Stopwatch) -> type:
    """ESPnet's writer, but each file is whole or absent, none is clipped, all are timed."""

    class WholeFileWriter(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.seconds = {}

        def __setitem__(self, key, value):
            rate, signal = value
            path = self.dir / f"{key}.{self.format}"
            write_audio(path, signal, rate)
            self.fscp.write(f"{key} {path}\n")
            self.data[key] = str(path)
            self.seconds[key] = f"{stopwatch.seconds:.4f}"

        def close(self):
            write_scp(Path(self.fscp.name).with_name("utt2seconds"), self.seconds)
            super().close()

    return WholeFileWriter


if __name__ == "__main__":
    main()

"""Enhance the lists of data directories, as ESPnet's ``enh_inference`` does.

The same options give the same samples.  Beyond that the input is checked, no file is
clipped or half-written, and utt2seconds beside the lists has the time of each utterance.
"""

import logging
import time
from argparse import Namespace
from collections.abc import Container
from inspect import signature
from pathlib import Path

from espnet2_bspmpnet.data.audio import read_audio, write_audio
from espnet2_bspmpnet.data.datadir import TIMES, read_scp
from espnet2_bspmpnet.errors import UserError, summary
from espnet2_bspmpnet.files.atomic import append_text, remove, write_text
from espnet2_bspmpnet.inference.attempts import keep_enhanced


def enhance_lists(options: Namespace) -> None:
    """Enhance what the lists name; what cannot be enhanced is left out.

    Args:
        options: enh_inference's, and ``resume``: leave out what this very command had
            enhanced before it was killed.

    Raises:
        UserError: the model is missing or damaged, or a recording is unreadable or at
            another rate; the others are enhanced before.
    """
    check_options(options)
    done = keep_enhanced(options.output_dir) if options.resume else ()
    utterances, errors = choose_utterances(
        options.data_path_and_name_and_type, options.key_file, options.fs, done
    )
    if utterances:
        _enhance(utterances, options)
    if errors:
        raise summary(errors, len(utterances) + len(errors), "enhancing")


def check_options(options: Namespace) -> None:
    """Check that one recording at a time is asked for, and that the model can be read.

    Raises:
        UserError: names the option, the file and the fix.
    """
    for name in ("batch_size", "ngpu"):
        if getattr(options, name) > 1:
            raise UserError(f"--{name}: at most 1; start more jobs to be faster")
    if options.model_tag is not None:
        return
    for name in ("train_config", "model_file", "inference_config"):
        path = getattr(options, name)
        if path is not None and not Path(path).is_file():
            raise UserError(f"--{name}: {path} does not exist; train the model first")
    if options.model_file is None:
        raise UserError("--model_file: name the trained model, or give --model_tag")
    check_model(options.model_file)


def check_model(path: str) -> None:
    """Refuse a damaged model file by its name; only its directory of tensors is read."""
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


def choose_utterances(
    lists: list[tuple[str, str, str]],
    key_file: str | None,
    rate: int,
    done: Container[str] = (),
) -> tuple[list[str], list[UserError]]:
    """Choose the utterances, except for those done, that can be enhanced.

    ESPnet itself takes 8 kHz audio for 16 kHz without a word.

    Args:
        lists: path, name and type of each.
        key_file: list of the utterances wanted; None for all of the first list.
        rate: samples per second that the recordings must have.

    Returns:
        The utterances in their order, and an error for each that cannot be enhanced.

    Raises:
        UserError: none can be enhanced.
    """
    wanted = [key for key in read_scp(key_file or lists[0][0]) if key not in done]
    errors: dict[str, UserError] = {}
    for path, _, kind in lists:
        recordings = read_scp(path) if kind == "sound" else {}
        for key in filter(recordings.get, wanted):
            try:
                check_audio(recordings[key], rate)
            except UserError as error:
                errors[key] = error
    if errors and len(errors) == len(wanted):
        raise summary(list(errors.values()), len(wanted), "enhancing")
    return [key for key in wanted if key not in errors], list(errors.values())


def check_audio(path: str, rate: int) -> None:
    """Refuse a file that cannot be read to its end or has not the right rate."""
    _, found = read_audio(path)
    if found != rate:
        raise UserError(
            f"{path}: {found} Hz, but --fs is {rate}; resample it first "
            "(bspmpnet format_data does)"
        )


def _enhance(utterances: list[str], options: Namespace) -> None:
    from espnet2.bin.enh_inference import SeparateSpeech
    from espnet2.tasks.enh import EnhancementTask
    from espnet2.torch_utils.set_all_random_seed import set_all_random_seed

    logging.basicConfig(
        level=options.log_level,
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
    )
    folder = Path(options.output_dir).expanduser().resolve()
    keys = folder / "keys.scp"
    write_text(keys, "".join(f"{key} {key}\n" for key in utterances))
    set_all_random_seed(options.seed)
    known = signature(SeparateSpeech).parameters
    separate = SeparateSpeech.from_pretrained(
        options.model_tag,
        device="cuda" if options.ngpu else "cpu",
        **{name: value for name, value in vars(options).items() if name in known},
    )
    trained = separate.enh_train_args
    batches = EnhancementTask.build_streaming_iterator(
        options.data_path_and_name_and_type,
        preprocess_fn=EnhancementTask.build_preprocess_fn(trained, False),
        collate_fn=EnhancementTask.build_collate_fn(trained, False),
        key_file=str(keys),
        dtype=options.dtype,
        num_workers=options.num_workers,
        allow_variable_data_keys=options.allow_variable_data_keys,
        inference=True,
    )
    output = Output(folder, separate.num_spk, options.output_format)
    for (utterance,), batch in batches:
        logging.info("Enhancing %s", utterance)
        inputs = {k: v for k, v in batch.items() if not k.endswith("_lengths")}
        rate = inputs.pop("utt2fs")[0].item() if "utt2fs" in inputs else options.fs
        started = time.perf_counter()
        waves = separate(**inputs, fs=rate)
        seconds = time.perf_counter() - started
        output.write(utterance, [wave[0] for wave in waves], rate, seconds)


class Output:
    """What is enhanced: wavs/N/ID.wav, in lists spkN.scp with utt2seconds beside them.

    The lists begin empty; a line follows as soon as its file is whole, as
    inference/attempts.py needs it.
    """

    def __init__(self, folder: Path, speakers: int, suffix: str):
        self.folder, self.suffix = folder, suffix
        self.lists = [folder / f"spk{speaker + 1}.scp" for speaker in range(speakers)]
        for path in (folder / TIMES, *self.lists):
            remove(path)

    def write(self, utterance: str, waves: list, rate: int, seconds: float) -> None:
        """Write an utterance's signals, each [L], and how long they took."""
        paths = []
        for speaker, wave in enumerate(waves, 1):
            path = self.folder / "wavs" / str(speaker) / f"{utterance}.{self.suffix}"
            write_audio(path, wave, rate)
            paths.append(path)
        append_text(self.folder / TIMES, f"{utterance} {seconds:.4f}\n")
        for scp, path in zip(self.lists, paths, strict=True):
            append_text(scp, f"{utterance} {path}\n")

"""Training data that differ each time: preprocessor ``bsp_mpnet``.

It does what ESPnet's preprocessor ``enh`` does, with the same options, and before that
changes gain and speed of a pair, or mixes one (see ``mixing``); after that the noises of a
batch may change places.
Validation and inference see the data as they are.
"""

import zlib
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from fractions import Fraction
from inspect import signature

import numpy as np
from espnet2.train.preprocessor import AbsPreprocessor, EnhPreprocessor

from espnet2_bspmpnet.data.audio import resample
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.training.mixing import DynamicMixing, crop, crop_start, read_list
from espnet2_bspmpnet.training.option_names import refuse_unknown

NAME = "bsp_mpnet"
NOISY, CLEAN = "speech_mix", "speech_ref1"
MOST_GAIN = 40.0  # dB, either way
SPEEDS = (0.5, 2.0)
SNRS = (-50.0, 100.0)  # dB
CROPS = 10  # are drawn at most, to find one that is not silent
# What mixing takes from ESPnet's part, and what would have no meaning then.
TAKEN = ("noise_scp", "rir_scp", "speech_segment")
REPLACED = (
    "noise_apply_prob",
    "noise_db_range",
    "short_noise_thres",
    "rir_apply_prob",
    "use_reverberant_ref",
    "remix_prob",
)
MIXING_OPTIONS = {field.name for field in fields(DynamicMixing)} - {
    "noises",
    "responses",
}

# A batch as it is collated: utterance ids with their waveforms by name.
Batch = Sequence[tuple[str, dict[str, np.ndarray]]]


class AugmentingPreprocessor(AbsPreprocessor):
    """Changes gain and speed of a noisy and clean pair, then does ESPnet's part.

    Args:
        preprocess: ESPnet's preprocessor: random crops, noises mixed in, ...
        gain_range: lowest and highest gain in dB; None leaves the level alone.
        speed_range: lowest and highest playback speed; None leaves it alone.
        remix_prob: of a batch, see :class:`RemixingCollate`.
        mixing: makes noisy speech of the clean, see :class:`mixing.DynamicMixing`; the
            noisy waveform that comes is not looked at then.
        segment: samples of a random crop, padded if short, that ``mixing`` is given; None
            gives all.

    Raises:
        UserError: for a value that is not allowed, with those that are.
    """

    def __init__(
        self,
        preprocess: AbsPreprocessor,
        gain_range: Sequence[float] | None = None,
        speed_range: Sequence[float] | None = None,
        remix_prob: float = 0.0,
        mixing: DynamicMixing | None = None,
        segment: int | None = None,
    ):
        super().__init__(preprocess.train)
        self.preprocess = preprocess
        self.gain_range = _range("gain_range", gain_range, -MOST_GAIN, MOST_GAIN)
        self.speed_range = _range("speed_range", speed_range, *SPEEDS)
        if not _is_number(remix_prob) or not 0 <= remix_prob <= 1:
            raise UserError(f"remix_prob: {remix_prob!r} is no number from 0 to 1")
        self.remix_prob = remix_prob
        self.mixing = mixing
        self.segment = segment

    def __call__(self, uid: str, data: dict) -> dict[str, np.ndarray]:
        """Change a pair: waveforms [L] under "speech_mix" and "speech_ref1"."""
        if self.train and (self.gain_range or self.speed_range or self.mixing):
            random = _generator(uid)
            if self.mixing:
                data = self._with_noise(uid, data)
            if self.segment:  # as much as any speed needs: less is to be resampled
                most = round(self.segment * max(self.speed_range or (1.0,))) + 1
                data = _crop(data, min(most, len(data[CLEAN])), random)
            if self.speed_range:
                speed = Fraction(random.uniform(*self.speed_range))
                data = _apply(data, change_speed, speed.limit_denominator(100))
            if self.segment:
                data = _crop(data, self.segment, random)
            if self.mixing:
                noisy, clean = self.mixing(data[CLEAN], random, data.get(NOISY))
                data = {**data, NOISY: noisy, CLEAN: clean}
            if self.gain_range:
                gain = 10 ** (random.uniform(*self.gain_range) / 20)
                data = _apply(data, np.multiply, gain)
        return self.preprocess(uid, data)

    def _with_noise(self, uid: str, data: dict) -> dict:
        """Give clean speech, with the noise in it if there are no others to mix."""
        if self.mixing.noises:
            return {name: wave for name, wave in data.items() if name != NOISY}
        noise = data[NOISY] - data[CLEAN]
        if not noise.any():
            raise UserError(
                f"snr_range: there is no noise to mix: {uid} has none, and none are"
                " listed; give stage 1 a --noise_dir, or leave snr_range out of"
                " preprocessor_conf"
            )
        return {**data, NOISY: noise}


class RemixingCollate:
    """Lets, with a probability, the noises of a batch change places, and collates it."""

    def __init__(self, collate: Callable[[Batch], tuple], probability: float):
        self.collate = collate
        self.probability = probability

    def __call__(self, batch: Batch) -> tuple:
        """Remix, perhaps, and collate."""
        batch = list(batch)
        random = _generator(batch[0][0])
        if random.random() < self.probability:
            batch = remix(batch, random.permutation(len(batch)))
        return self.collate(batch)


def change_speed(wave: np.ndarray, speed: Fraction) -> np.ndarray:
    """Play a waveform [L] at a speed: round(L / speed) samples, pitch changes."""
    return resample(wave, speed.numerator, speed.denominator)


def remix(batch: Batch, order: Sequence[int]) -> Batch:
    """Give every utterance another one's noise, repeated or cut to its length.

    Args:
        batch: noisy and clean waveforms; the noise is what they differ by.
        order: for each utterance the one whose noise it gets.
    """
    noises = [data[NOISY] - data[CLEAN] for _, data in batch]
    return [
        (uid, {**data, NOISY: data[CLEAN] + np.resize(noises[other], len(data[CLEAN]))})
        for (uid, data), other in zip(batch, order, strict=True)
    ]


def build_augmenting(
    build: Callable[..., AbsPreprocessor], args: Namespace, train: bool
) -> AugmentingPreprocessor:
    """Build the preprocessor ``bsp_mpnet`` around ESPnet's, made by its own ``build``.

    Raises:
        UserError: for an option or a value that is not allowed.
    """
    own, theirs = split_options(args.preprocessor_conf)
    if train and own.get("remix_prob"):
        _check_batches(args)
    given = {**vars(args), "preprocessor": "enh"}
    mixing = {name: own.pop(name) for name in MIXING_OPTIONS & own.keys()}
    if mixing and "snr_range" not in mixing:
        raise UserError(
            f"{', '.join(sorted(mixing))}: without snr_range: [low, high], in dB, nothing"
            " is mixed in training; add it, or leave them out"
        )
    if mixing.get("snr_range") is not None and train:
        _check_replaced(args.preprocessor_conf)
        taken = {name: theirs.pop(name, given.get(name)) for name in TAKEN}
        given.update(dict.fromkeys(TAKEN))
        own["segment"] = _segment(taken.pop("speech_segment"))
        own["mixing"] = build_mixing(mixing, **taken)
    preprocess = build(Namespace(**{**given, "preprocessor_conf": theirs}), train)
    return AugmentingPreprocessor(preprocess, **own)


def build_mixing(
    options: dict, noise_scp: str | None, rir_scp: str | None
) -> DynamicMixing:
    """Build what mixes of the preprocessor's options, and the lists of its files.

    Raises:
        UserError: for a value that is not allowed, or a list that cannot be read.
    """
    _range("snr_range", options["snr_range"], *SNRS)
    _range("noise_speed_range", options.get("noise_speed_range"), *SPEEDS)
    for name, value in options.items():
        most = 1 if name.endswith("_prob") else MOST_GAIN
        if not name.endswith("_range") and not (
            _is_number(value) and 0 <= value <= most
        ):
            raise UserError(f"{name}: {value!r} is no number from 0 to {most:g}")
    return DynamicMixing(
        **options, noises=read_list(noise_scp), responses=read_list(rir_scp)
    )


def remixing(collate: Callable[[Batch], tuple], args: Namespace) -> Callable:
    """Let the noises of training batches change places, if the options say so."""
    if args.preprocessor != NAME:
        return collate
    probability = split_options(args.preprocessor_conf)[0].get("remix_prob")
    return RemixingCollate(collate, probability) if probability else collate


def split_options(options: dict) -> tuple[dict, dict]:
    """Split a ``preprocessor_conf`` into our options and those of ESPnet's ``enh``.

    Raises:
        UserError: for an option that neither has.
    """
    ours = set(signature(AugmentingPreprocessor).parameters) | MIXING_OPTIONS
    ours -= {"preprocess", "mixing", "segment"}
    theirs = set(signature(EnhPreprocessor).parameters) - {"train"}
    refuse_unknown("preprocessor_conf", options, ours | theirs)
    own = {name: value for name, value in options.items() if name in ours}
    return own, {name: options[name] for name in options.keys() - ours}


def _check_replaced(options: dict) -> None:
    for name in filter(options.get, REPLACED):
        raise UserError(
            f"{name}: has no meaning with snr_range, whose mixing has options of its own;"
            " leave one of the two out"
        )


def _segment(samples: object) -> int | None:
    if samples is None or (type(samples) is int and samples > 0):
        return samples
    raise UserError(f"speech_segment: {samples!r} is no number of samples")


def _check_batches(args: Namespace) -> None:
    if getattr(args, "separator", None) != NAME:
        raise UserError(
            f"remix_prob: needs 'separator: {NAME}'; the batches of other models stay"
            " as ESPnet makes them"
        )
    # ESPnet collates single utterances then, and cuts and batches them afterwards.
    if args.iterator_type == "chunk" and args.chunk_discard_short_samples:
        raise UserError(
            "remix_prob: does nothing with iterator_type: chunk; choose"
            " 'iterator_type: sequence', or 'chunk_discard_short_samples: false'"
        )


def _generator(uid: str) -> np.random.Generator:
    # ESPnet seeds numpy for each epoch and worker, but alike for all processes that
    # train together, and a worker like its neighbour an epoch later: hence the name.
    return np.random.default_rng(
        [np.random.randint(2**31), zlib.crc32(uid.encode("utf-8"))]
    )


def _apply(data: dict, change: Callable, value) -> dict:
    return {
        name: change(wave, value).astype(wave.dtype) if name in (NOISY, CLEAN) else wave
        for name, wave in data.items()
    }


def _crop(data: dict, length: int, random: np.random.Generator) -> dict:
    for _ in range(CROPS):  # nothing is to be learnt of silence, which has no SNR
        span = crop_start(len(data[CLEAN]), length, random), length
        if crop(data[CLEAN], span).any():
            break
    return _apply(data, crop, span)


def _is_number(value: object) -> bool:
    return type(value) in (int, float)  # bool is a subclass of int


def _range(
    name: str, value: Sequence[float] | None, lowest: float, highest: float
) -> Sequence[float] | None:
    if value is None or (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(map(_is_number, value))
        and lowest <= value[0] <= value[1] <= highest
    ):
        return value
    raise UserError(
        f"{name}: {value!r} is no range [low, high] within {lowest:g} ... {highest:g}"
    )

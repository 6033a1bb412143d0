"""Stages 2 to 5: from data directories to ESPnet's dump."""

import logging
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from espnet2_bspmpnet.data.conversion import Conversion, Converted, Part, convert_all
from espnet2_bspmpnet.data.datadir import DataDir, check_same_ids, read_scp, write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import remove, write_text
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

SOURCE_TIMES = "utt2mtime"  # of noisy and clean file: they show that audio was replaced
DERIVED = ("utt2spk", "utt2num_samples")  # what stages write themselves


def speed_perturb(
    src: str | Path,
    dst: str | Path,
    factors: Sequence[float] = (0.9, 1.0, 1.1),
    nj: int = 1,
    audio_format: str = "wav",
    part: Part = None,
) -> None:
    """Add copies played slower and faster, noisy and clean alike (stage 2).

    "sp0.9-<utt>" of speaker "sp0.9-<spk>" is <utt> at 0.9 times the speed; factor 1
    keeps the id and the file. For the other arguments see `format_data`.

    Raises:
        UserError: bad data, a factor that is not positive or is there twice.
    """
    if not factors or min(factors) <= 0 or len(set(factors)) != len(factors):
        raise UserError(
            f"speed factors {' '.join(map(str, factors))}: they must be positive "
            "and differ, for example 0.9 1.0 1.1"
        )
    source, dst = _source(src, dst, audio_format), Path(dst)
    origins, speakers, tasks = {}, {}, []
    for factor in factors:
        prefix = "" if factor == 1 else f"sp{factor:g}-"
        speed = Fraction(factor).limit_denominator(1000)
        for utterance, speaker in source.utt2spk.items():
            new, files = prefix + utterance, source.files(utterance)
            origins[new], speakers[new] = utterance, prefix + speaker
            tasks.append(Conversion(new, files, dst, audio_format, speed=speed))
    description = f"speed perturbation of {src}"
    converted = convert_all(tasks, dst, nj, part, description)
    if converted is not None:
        _carry_texts(source.path, dst, origins)
        _write_lists(dst, converted, speakers)


def format_data(
    src: str | Path,
    dst: str | Path,
    fs: int = SAMPLE_RATE,
    audio_format: str = "wav",
    nj: int = 1,
    part: Part = None,
    source_rates: tuple[int, ...] = (),
) -> None:
    """Bring every file to one rate and format, and count its samples (stage 3).

    What an earlier call has made is kept, even one that met a bad file or was killed.
    Names and lengths do not show whether audio has changed: utt2mtime does.

    Args:
        src: data directory to read; spk1.scp may be missing.
        dst: data directory to make. Pairs that are right already are named by their
            absolute paths; others are converted into dst/data.
        fs: samples per second.
        audio_format: wav or flac.
        nj: number of processes.
        part: (k, n) makes the k-th of n shares of the audio alone; jobs do so at the
            same time, and a last call without it makes the data directory.
        source_rates: samples per second that files may have; empty for any.

    Raises:
        UserError: bad data (see `check_pairs`), once all that is good is done.
    """
    source, dst = _source(src, dst, audio_format), Path(dst)
    how = {"rate": fs, "source_rates": source_rates}
    tasks = [
        Conversion(utterance, source.files(utterance), dst, audio_format, **how)
        for utterance in sorted(source.wav)
    ]
    converted = convert_all(tasks, dst, nj, part, f"formatting {src}")
    if converted is not None:
        num_samples = {name: one.num_samples for name, one in converted.items()}
        write_scp(dst / "utt2num_samples", num_samples)
        _carry_texts(source.path, dst, {name: name for name in source.wav})
        times = {
            task.utterance: " ".join(str(os.stat(p).st_mtime_ns) for p in task.sources)
            for task in tasks
        }
        write_scp(dst / SOURCE_TIMES, times)
        _write_lists(dst, converted, source.utt2spk)


def filter_data(
    src: str | Path,
    dst: str | Path,
    min_wav_duration: float,
    max_wav_duration: float,
    fs: int,
) -> None:
    """Drop utterances that are too short or too long, in seconds; log which (stage 4).

    The samples in utt2num_samples of `src` are `fs` per second.

    Raises:
        UserError: nothing is left.
    """
    source, dst = DataDir.read(src, need_reference=False), Path(dst)
    num_samples = _num_samples(source)
    kept = {
        utterance: num_samples[utterance]
        for utterance in source.wav
        if min_wav_duration * fs <= num_samples[utterance] <= max_wav_duration * fs
    }
    if not kept:
        raise UserError(
            f"{src}: no utterance is between {min_wav_duration:g} and "
            f"{max_wav_duration:g} s long; change --min_wav_duration or "
            "--max_wav_duration"
        )
    dropped = sorted(set(source.wav) - set(kept))
    logging.info(
        f"{src}: {len(dropped)} of {len(source.wav)} utterances dropped (shorter than "
        f"{min_wav_duration:g} s or longer than {max_wav_duration:g} s)"
        + (": " + " ".join(dropped) if dropped else "")
    )
    write_scp(dst / "utt2num_samples", kept)
    _carry_texts(source.path, dst, {utterance: utterance for utterance in kept})
    source.subset(dst, kept).write()


def collect_stats(train: str | Path, valid: str | Path, output_dir: str | Path) -> None:
    """Write the shape files that ESPnet's collect_stats would, without a model.

    The lengths are known since stage 3, from the data directories' utt2num_samples, so
    that neither audio is read nor the self-supervised model built (stage 5). `output_dir`
    gets train/ and valid/, each with speech_mix_shape, speech_ref1_shape, batch_keys and
    stats_keys.

    Raises:
        UserError: a file is missing or its ids differ from wav.scp.
    """
    names = ("speech_mix", "speech_ref1")
    for mode, path in (("train", train), ("valid", valid)):
        folder = Path(output_dir) / mode
        num_samples = _num_samples(DataDir.read(path))
        for name in names:
            write_scp(folder / f"{name}_shape", num_samples)
        # No features are collected, hence no statistics: one empty line, as ESPnet's.
        write_text(folder / "stats_keys", "\n")
        write_text(folder / "batch_keys", "\n".join(names) + "\n")


def _source(src: str | Path, dst: str | Path, audio_format: str) -> DataDir:
    if Path(dst).resolve() == Path(src).resolve():
        raise UserError(f"{dst}: source and target are the same; choose another target")
    if audio_format not in ("wav", "flac"):
        raise UserError(f"audio format {audio_format!r} is unknown; use wav or flac")
    return DataDir.read(src, need_reference=False)


def _write_lists(
    dst: Path, converted: Mapping[str, Converted], utt2spk: dict[str, str]
) -> None:
    wav = {utterance: one.paths[0] for utterance, one in converted.items()}
    spk1 = {utterance: one.paths[-1] for utterance, one in converted.items()}
    paired = all(len(one.paths) == 2 for one in converted.values())
    DataDir(dst, wav, spk1 if paired else None, utt2spk).write()


def _texts(folder: Path) -> list[Path]:
    """List text, utt2snr and the like."""
    made = {folder / name for name in DERIVED}
    return sorted({folder / "text", *folder.glob("utt2*")} - made)


def _carry_texts(src: Path, dst: Path, origins: Mapping[str, str]) -> None:
    """Copy text, utt2snr and the like for the utterances new id -> old id."""
    for path in _texts(dst):  # perhaps of other data
        remove(path)
    for path in filter(Path.is_file, _texts(src)):
        lines = path.read_text(encoding="utf-8").splitlines()
        # An empty transcript is a line with an id alone.
        old = {name: value for name, _, value in (x.partition(" ") for x in lines)}
        carried = {new: old[name] for new, name in origins.items() if name in old}
        if carried:
            write_scp(dst / path.name, carried)


def _num_samples(source: DataDir) -> dict[str, int]:
    path = source.path / "utt2num_samples"
    entries = read_scp(path)
    check_same_ids(source.path / "wav.scp", source.wav, path, entries)
    for utterance, value in entries.items():
        if not value.isdecimal():
            raise UserError(
                f"{path}: {utterance} has {value!r} in place of a number of samples; "
                "format the data again (stage 3)"
            )
    return {utterance: int(value) for utterance, value in entries.items()}

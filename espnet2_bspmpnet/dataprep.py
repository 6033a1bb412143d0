"""Stages 2 to 5 and the lists of stage 7: from data directories to ESPnet's dump."""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from espnet2_bspmpnet.atomic import write_text
from espnet2_bspmpnet.datadir import (
    DataDir,
    check_pairs,
    check_same_ids,
    read_scp,
    write_scp,
)
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.parallel import parallel_map

DERIVED = ("utt2spk", "utt2num_samples")


@dataclass(frozen=True)
class _Conversion:
    """One utterance's way from source to target files.

    Args:
        utterance: its id.
        sources: noisy and, if there is one, clean file.
        targets: the files to make, in the same order.
        rate: samples per second wanted; None keeps the source's.
        speed: playback speed.
    """

    utterance: str
    sources: tuple[str, ...]
    targets: tuple[Path, ...]
    rate: int | None = None
    speed: Fraction = Fraction(1)


@dataclass(frozen=True)
class _Converted:
    paths: tuple[str, ...]
    num_samples: int


def _convert(task: _Conversion) -> _Converted:
    from espnet2_bspmpnet.audio import audio_info, read_audio, resample, write_audio

    if all(map(_made_from, task.targets, task.sources)):
        num_samples = audio_info(task.targets[0]).frames
        return _Converted(tuple(map(str, task.targets)), num_samples)
    waves = []
    for source in task.sources:
        wave, rate_in = read_audio(source)
        rate = task.rate or rate_in
        # Played at `speed`, a second of the source holds rate_in * speed samples.
        waves.append(
            resample(
                wave, rate_in * task.speed.numerator, rate * task.speed.denominator
            )
        )
    # One gain for both, or the clean part of the noisy file would change its level.
    peak = max(float(abs(wave).max(initial=0.0)) for wave in waves)
    gain = 1.0 if peak <= 1.0 else (1.0 - 2.0**-15) / peak
    if gain != 1.0:
        logging.warning("%s: scaled by %.4f to full scale", task.utterance, gain)
    for source, target, wave in zip(task.sources, task.targets, waves, strict=True):
        write_audio(target, wave * gain, rate)
        stamp = os.stat(source)
        os.utime(target, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return _Converted(tuple(map(str, task.targets)), len(waves[0]))


def _made_from(target: Path, source: str) -> bool:
    # A finished target carries its source's time stamp, set after it is written.
    return target.exists() and target.stat().st_mtime_ns == os.stat(source).st_mtime_ns


def _convert_if_needed(task: _Conversion) -> _Converted:
    from espnet2_bspmpnet.audio import WRITABLE, audio_info

    container = WRITABLE[task.targets[0].suffix]
    infos = [audio_info(source) for source in task.sources]
    if all(info.rate == task.rate and info.format == container for info in infos):
        absolute = tuple(os.path.abspath(source) for source in task.sources)
        return _Converted(absolute, infos[0].frames)
    return _convert(task)


def _open_target(src: DataDir, dst: Path, **parameters: object) -> None:
    if dst.resolve() == src.path.resolve():
        raise UserError(f"{dst}: source and target are the same; choose another target")
    if parameters.get("audio_format") not in ("wav", "flac"):
        raise UserError(
            f"audio format {parameters.get('audio_format')!r} is unknown; "
            "use wav or flac"
        )
    marker = dst / ".parameters.json"
    made_with = json.dumps(parameters, sort_keys=True)
    if (dst / "data").exists() and (
        not marker.exists() or marker.read_text(encoding="utf-8") != made_with
    ):
        (dst / "wav.scp").unlink(missing_ok=True)
        shutil.rmtree(dst / "data")
    for unfinished in (dst / "data").rglob(".*.tmp"):
        unfinished.unlink()
    write_text(marker, made_with)


def _targets(
    dst: Path, utterance: str, count: int, audio_format: str
) -> tuple[Path, ...]:
    folder = Path(os.path.abspath(dst)) / "data"
    name = f"{utterance}.{audio_format}"
    return tuple(folder / part / name for part in ("wav", "spk1")[:count])


def _sources(src: DataDir, utterance: str) -> tuple[str, ...]:
    if src.spk1 is None:
        return (src.wav[utterance],)
    return src.wav[utterance], src.spk1[utterance]


def _carry_texts(src: Path, dst: Path, origins: Mapping[str, str]) -> None:
    """Copy text, utt2snr and the like for the utterances new id -> old id."""
    for path in sorted(src.iterdir()):
        wanted = path.name == "text" or path.name.startswith("utt2")
        if not wanted or path.name in DERIVED:
            continue
        old = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            # An empty transcript is a line with an id alone.
            utterance, _, value = line.partition(" ")
            old[utterance] = value
        lines = [
            f"{new} {old[origin]}".rstrip() + "\n"
            for new, origin in sorted(origins.items())
            if origin in old
        ]
        write_text(dst / path.name, "".join(lines))


def speed_perturb(
    src: str | Path,
    dst: str | Path,
    factors: Sequence[float] = (0.9, 1.0, 1.1),
    nj: int = 1,
    audio_format: str = "wav",
) -> None:
    """Add copies played slower and faster, noisy and clean alike (stage 2).

    Args:
        src: data directory to read.
        dst: data directory to make; "sp0.9-<utt>" of speaker "sp0.9-<spk>" is
            <utt> at 0.9 times the speed, and factor 1 keeps the id and the file.
        factors: playback speeds.
        nj: number of processes.
        audio_format: wav or flac.

    Raises:
        UserError: bad data, a factor that is not positive or is there twice.
    """
    if not factors or min(factors) <= 0 or len(set(factors)) != len(factors):
        raise UserError(
            f"speed factors {' '.join(map(str, factors))}: they must be positive "
            "and differ, for example 0.9 1.0 1.1"
        )
    source, dst = DataDir.read(src, need_reference=False), Path(dst)
    check_pairs(source)
    _open_target(source, dst, audio_format=audio_format)
    perturbed = DataDir(dst, {}, None if source.spk1 is None else {}, {})
    origins, tasks = {}, []
    for factor in factors:
        prefix = "" if factor == 1 else f"sp{factor:g}-"
        for utterance, speaker in source.utt2spk.items():
            new, sources = prefix + utterance, _sources(source, utterance)
            origins[new] = utterance
            perturbed.utt2spk[new] = prefix + speaker
            if factor == 1:
                _enter(perturbed, new, tuple(map(os.path.abspath, sources)))
                continue
            targets = _targets(dst, new, len(sources), audio_format)
            speed = Fraction(factor).limit_denominator(1000)
            tasks.append(_Conversion(new, sources, targets, speed=speed))
    results = parallel_map(_convert, tasks, nj, f"speed perturbation of {src}")
    for task, converted in zip(tasks, results, strict=True):
        _enter(perturbed, task.utterance, converted.paths)
    _carry_texts(source.path, dst, origins)
    perturbed.write()


def _enter(datadir: DataDir, utterance: str, paths: tuple[str, ...]) -> None:
    datadir.wav[utterance] = paths[0]
    if datadir.spk1 is not None:
        datadir.spk1[utterance] = paths[1]


def format_data(
    src: str | Path,
    dst: str | Path,
    fs: int = 16000,
    audio_format: str = "wav",
    nj: int = 1,
) -> None:
    """Bring every file to one rate and format, and count its samples (stage 3).

    Args:
        src: data directory to read; spk1.scp may be missing.
        dst: data directory to make. Pairs that are right already are named by their
            absolute paths; others are converted into dst/data.
        fs: samples per second.
        audio_format: wav or flac.
        nj: number of processes.

    Raises:
        UserError: bad data (see `check_pairs`).
    """
    source, dst = DataDir.read(src, need_reference=False), Path(dst)
    check_pairs(source)
    _open_target(source, dst, fs=fs, audio_format=audio_format)
    tasks = []
    for utterance in sorted(source.wav):
        sources = _sources(source, utterance)
        targets = _targets(dst, utterance, len(sources), audio_format)
        tasks.append(_Conversion(utterance, sources, targets, rate=fs))
    results = parallel_map(_convert_if_needed, tasks, nj, f"formatting {src}")
    formatted = DataDir(dst, {}, None if source.spk1 is None else {}, source.utt2spk)
    num_samples = {}
    for task, converted in zip(tasks, results, strict=True):
        _enter(formatted, task.utterance, converted.paths)
        num_samples[task.utterance] = converted.num_samples
    write_scp(dst / "utt2num_samples", num_samples)
    _carry_texts(source.path, dst, {utterance: utterance for utterance in source.wav})
    formatted.write()


def filter_data(
    src: str | Path,
    dst: str | Path,
    min_wav_duration: float,
    max_wav_duration: float,
    fs: int,
) -> None:
    """Drop utterances that are too short or too long, and say which (stage 4).

    Args:
        src: data directory with utt2num_samples.
        dst: data directory to make.
        min_wav_duration: shortest utterance kept, in seconds.
        max_wav_duration: longest utterance kept, in seconds.
        fs: samples per second that utt2num_samples was counted at.

    Raises:
        UserError: nothing is left.
    """
    source, dst = DataDir.read(src, need_reference=False), Path(dst)
    num_samples = _num_samples(source)
    kept = [
        utterance
        for utterance in source.wav
        if min_wav_duration * fs <= num_samples[utterance] <= max_wav_duration * fs
    ]
    if not kept:
        raise UserError(
            f"{src}: no utterance is between {min_wav_duration:g} and "
            f"{max_wav_duration:g} s long; change --min_wav_duration or "
            "--max_wav_duration"
        )
    dropped = sorted(set(source.wav) - set(kept))
    logging.info(
        "%s: %d of %d utterances dropped (shorter than %g s or longer than %g s)%s",
        src,
        len(dropped),
        len(source.wav),
        min_wav_duration,
        max_wav_duration,
        ": " + " ".join(dropped) if dropped else "",
    )
    filtered = DataDir(
        dst,
        {utterance: source.wav[utterance] for utterance in kept},
        source.spk1 and {utterance: source.spk1[utterance] for utterance in kept},
        {utterance: source.utt2spk[utterance] for utterance in kept},
    )
    write_scp(
        dst / "utt2num_samples",
        {utterance: num_samples[utterance] for utterance in kept},
    )
    _carry_texts(source.path, dst, {utterance: utterance for utterance in kept})
    filtered.write()


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


def collect_stats(train: str | Path, valid: str | Path, output_dir: str | Path) -> None:
    """Write the shape files that ESPnet's collect_stats would, without a model.

    The lengths are known since stage 3, so that neither audio is read nor the
    self-supervised model built (stage 5).

    Args:
        train: data directory with utt2num_samples.
        valid: the same for validation.
        output_dir: gets train/ and valid/, each with speech_mix_shape,
            speech_ref1_shape, batch_keys and stats_keys.

    Raises:
        UserError: a file is missing or its ids differ from wav.scp.
    """
    for mode, path in (("train", train), ("valid", valid)):
        source, folder = DataDir.read(path), Path(output_dir) / mode
        num_samples = _num_samples(source)
        names = ("speech_mix", "speech_ref1")
        for name in names:
            write_scp(folder / f"{name}_shape", num_samples)
        # No features are collected, hence no statistics: one empty line, as ESPnet's.
        write_text(folder / "stats_keys", "\n")
        write_text(folder / "batch_keys", "\n".join(names) + "\n")


def split_scp(scp: str | Path, n: int, folder: str | Path) -> int:
    """Split a list into keys.1.scp ... keys.n.scp of equal length, in order.

    Args:
        scp: the list, e.g. wav.scp.
        n: number of parts wanted; no part is empty, so there may be fewer.
        folder: where the parts go; parts of an earlier split are removed.

    Returns:
        The number of parts made.
    """
    if n < 1:
        raise UserError(f"{n} parts asked for; ask for one or more")
    entries, folder = read_scp(scp), Path(folder)
    ids = sorted(entries)
    n = min(n, len(ids))
    for old in folder.glob("keys.*.scp"):
        old.unlink()
    for part in range(n):
        mine = ids[part * len(ids) // n : (part + 1) * len(ids) // n]
        write_scp(folder / f"keys.{part + 1}.scp", {key: entries[key] for key in mine})
    return n


def merge_scp(
    parts: Iterable[str | Path], output: str | Path, expected: str | Path
) -> None:
    """Join the lists that parallel jobs wrote, and make sure that all is there.

    Args:
        parts: the lists, e.g. spk1.scp of each job.
        output: the joined list, sorted.
        expected: a list of the ids that must be there, e.g. the set's wav.scp.

    Raises:
        UserError: an id is missing, unexpected or in two parts.
    """
    merged: dict[str, str] = {}
    for part in parts:
        entries = read_scp(part)
        twice = sorted(merged.keys() & entries.keys())
        if twice:
            raise UserError(
                f"{part}: {', '.join(twice[:5])} also in another part; "
                "remove the parts and run the jobs again"
            )
        merged |= entries
    check_same_ids(expected, read_scp(expected), "the parts", merged)
    write_scp(output, merged)

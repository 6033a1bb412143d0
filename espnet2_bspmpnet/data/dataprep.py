"""Stages 2 to 5: from data directories to ESPnet's dump."""

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from espnet2_bspmpnet.data.datadir import (
    DataDir,
    check_pair,
    check_same_ids,
    read_scp,
    write_scp,
)
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import naming, remove, write_text
from espnet2_bspmpnet.files.parallel import parallel_map, part_of
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

SOURCE_TIMES = "utt2mtime"  # of noisy and clean file, by which other audio is told
DERIVED = ("utt2spk", "utt2num_samples")


Part = tuple[int, int] | None  # the job's number in 1 ... n, and n; None is one job


@dataclass(frozen=True)
class _Conversion:
    """One utterance's way from source to target files.

    Args:
        utterance: its id.
        sources: noisy and, if there is one, clean file.
        targets: the files to make, in the same order.
        rate: samples per second wanted; None keeps the source's.
        speed: playback speed.
        source_rates: samples per second that the sources may have; empty for any.
    """

    utterance: str
    sources: tuple[str, ...]
    targets: tuple[Path, ...]
    rate: int | None = None
    speed: Fraction = Fraction(1)
    source_rates: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Converted:
    paths: tuple[str, ...]
    num_samples: int


def _convert_if_needed(task: _Conversion) -> _Converted:
    return _finished(task) or _convert(task)


def _finished(task: _Conversion) -> _Converted | None:
    """Name the files if they are right already or an earlier run made them."""
    from espnet2_bspmpnet.data.audio import WRITABLE

    infos = check_pair(task.utterance, task.sources)
    if task.source_rates and infos[0].rate not in task.source_rates:
        expected = " or ".join(map(str, task.source_rates))
        raise UserError(
            f"{task.sources[0]} has {infos[0].rate} Hz, but this corpus has {expected} "
            "Hz; take the original file"
        )
    rate = task.rate or infos[0].rate
    container = task.rate and WRITABLE[task.targets[0].suffix]
    if task.speed == 1 and all(
        info.rate == rate and container in (None, info.format) for info in infos
    ):
        absolute = tuple(os.path.abspath(source) for source in task.sources)
        return _Converted(absolute, infos[0].frames)
    num_samples = _samples_made(task, rate)
    if num_samples is None:
        return None
    return _Converted(tuple(map(str, task.targets)), num_samples)


def _samples_made(task: _Conversion, rate: int) -> int | None:
    """Count the samples of a target that an earlier run made; None if it did not."""
    from espnet2_bspmpnet.data.audio import audio_info

    for source, target in zip(task.sources, task.targets, strict=True):
        # A finished target carries its source's time stamp, set after it is written.
        if (
            not target.exists()
            or target.stat().st_mtime_ns != os.stat(source).st_mtime_ns
        ):
            return None
    made = audio_info(task.targets[0])
    return made.frames if made.rate == rate else None


def _convert(task: _Conversion) -> _Converted:
    from espnet2_bspmpnet.data.audio import read_audio, resample, write_audio

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
        waves = [wave * gain for wave in waves]
    for source, target, wave in zip(task.sources, task.targets, waves, strict=True):
        write_audio(target, wave, rate)
        stamp = os.stat(source)
        with naming(target):
            os.utime(target, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return _Converted(tuple(map(str, task.targets)), len(waves[0]))


def _convert_all(
    tasks: Sequence[_Conversion], dst: Path, nj: int, part: Part, description: str
) -> Mapping[str, _Converted] | None:
    """Convert a part of the utterances, or all and leave no others in dst/data."""
    sources = {os.path.abspath(path) for task in tasks for path in task.sources}
    overwritten = sources & {str(path) for task in tasks for path in task.targets}
    if overwritten:
        raise UserError(
            f"{min(overwritten)}: would be overwritten; choose another target than {dst}"
        )
    # Until all is well again, nobody is to read the folder.
    remove(dst / "wav.scp")
    mine = part_of(tasks, part)
    with contextlib.suppress(UserError):  # which is told below
        if mine and _finished(mine[0]):  # as then mostly all are: processes do not pay
            nj = 1
    converted = parallel_map(_convert_if_needed, mine, nj, description)
    if part is not None:
        return None
    found = {task.utterance: one for task, one in zip(tasks, converted, strict=True)}
    named = {path for one in found.values() for path in one.paths}
    for path in _made(dst):
        if not {os.path.abspath(path)} & (named | sources):
            path.unlink()
    return found


def _made(dst: Path) -> list[Path]:
    """List the audio in dst/data, with what a killed job has left half-written."""
    return [
        path
        for part in ("wav", "spk1")
        for path in (dst / "data" / part).rglob("*")
        if path.suffix in (".wav", ".flac", ".tmp")
    ]


def _check_target(src: DataDir, dst: Path, audio_format: str) -> None:
    if dst.resolve() == src.path.resolve():
        raise UserError(f"{dst}: source and target are the same; choose another target")
    if audio_format not in ("wav", "flac"):
        raise UserError(f"audio format {audio_format!r} is unknown; use wav or flac")


def _targets(
    dst: Path, utterance: str, count: int, audio_format: str
) -> tuple[Path, ...]:
    folder = Path(os.path.abspath(dst)) / "data"
    name = f"{utterance}.{audio_format}"
    return tuple(folder / part / name for part in ("wav", "spk1")[:count])


def _texts(folder: Path) -> list[Path]:
    """List text, utt2snr and the like."""
    return sorted(
        {folder / "text", *folder.glob("utt2*")} - {folder / n for n in DERIVED}
    )


def _carry_texts(src: Path, dst: Path, origins: Mapping[str, str]) -> None:
    """Copy text, utt2snr and the like for the utterances new id -> old id."""
    for path in _texts(dst):  # of other data, perhaps
        remove(path)
    for path in filter(Path.is_file, _texts(src)):
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
        if lines:
            write_text(dst / path.name, "".join(lines))


def speed_perturb(
    src: str | Path,
    dst: str | Path,
    factors: Sequence[float] = (0.9, 1.0, 1.1),
    nj: int = 1,
    audio_format: str = "wav",
    part: Part = None,
) -> None:
    """Add copies played slower and faster, noisy and clean alike (stage 2).

    Args:
        src: data directory to read.
        dst: data directory to make; "sp0.9-<utt>" of speaker "sp0.9-<spk>" is
            <utt> at 0.9 times the speed, and factor 1 keeps the id and the file.
        factors: playback speeds.
        nj: number of processes.
        audio_format: wav or flac.
        part: see `format_data`.

    Raises:
        UserError: bad data, a factor that is not positive or is there twice.
    """
    if not factors or min(factors) <= 0 or len(set(factors)) != len(factors):
        raise UserError(
            f"speed factors {' '.join(map(str, factors))}: they must be positive "
            "and differ, for example 0.9 1.0 1.1"
        )
    source, dst = DataDir.read(src, need_reference=False), Path(dst)
    _check_target(source, dst, audio_format)
    origins, speakers, tasks = {}, {}, []
    for factor in factors:
        prefix = "" if factor == 1 else f"sp{factor:g}-"
        for utterance, speaker in source.utt2spk.items():
            new, sources = prefix + utterance, source.files(utterance)
            origins[new], speakers[new] = utterance, prefix + speaker
            targets = _targets(dst, new, len(sources), audio_format)
            speed = Fraction(factor).limit_denominator(1000)
            tasks.append(_Conversion(new, sources, targets, speed=speed))
    description = f"speed perturbation of {src}"
    converted = _convert_all(tasks, dst, nj, part, description)
    if converted is not None:
        _carry_texts(source.path, dst, origins)
        _write_lists(dst, converted, speakers)


def _write_lists(
    dst: Path, converted: Mapping[str, _Converted], utt2spk: dict[str, str]
) -> None:
    wav = {utterance: one.paths[0] for utterance, one in converted.items()}
    spk1 = {utterance: one.paths[-1] for utterance, one in converted.items()}
    paired = all(len(one.paths) == 2 for one in converted.values())
    DataDir(dst, wav, spk1 if paired else None, utt2spk).write()


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
    Names and lengths do not tell whether audio has changed: utt2mtime does.

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
    source, dst = DataDir.read(src, need_reference=False), Path(dst)
    _check_target(source, dst, audio_format)
    tasks = []
    for utterance in sorted(source.wav):
        sources = source.files(utterance)
        targets = _targets(dst, utterance, len(sources), audio_format)
        tasks.append(
            _Conversion(utterance, sources, targets, rate=fs, source_rates=source_rates)
        )
    converted = _convert_all(tasks, dst, nj, part, f"formatting {src}")
    if converted is not None:
        num_samples = {
            utterance: one.num_samples for utterance, one in converted.items()
        }
        write_scp(dst / "utt2num_samples", num_samples)
        _carry_texts(source.path, dst, {name: name for name in source.wav})
        times = {
            utterance: " ".join(str(os.stat(path).st_mtime_ns) for path in paths)
            for utterance, paths in ((task.utterance, task.sources) for task in tasks)
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

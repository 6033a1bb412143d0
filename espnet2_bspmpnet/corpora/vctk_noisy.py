"""VoiceBank+DEMAND: the noisy speech database of 28 speakers for speech enhancement.

Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and
TTS models", University of Edinburgh, https://doi.org/10.7488/ds/2117 (CC BY 4.0): 11,572
pairs of 28 speakers to train on, 824 of two others to test, 48 kHz, mono.
"""

import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet2_bspmpnet.data import dataprep
from espnet2_bspmpnet.data.audio import list_audio
from espnet2_bspmpnet.data.datadir import DataDir, check_same_ids, read_scp, write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.download import RemoteFile, fetch, verify
from espnet2_bspmpnet.files.unpacking import unpack
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

PAGE = "https://doi.org/10.7488/ds/2117"
RATES = (48000, SAMPLE_RATE)
VALIDATION_SPEAKERS = ("p226", "p287")

_STORE = "https://datashare.ed.ac.uk/server/api/core/bitstreams"
_NAME = re.compile(r"p\d{3}_\d{3}")
_SHOWN = 5


@dataclass(frozen=True)
class _Archive:
    """An archive of the database, NAME.zip, and the folder that it makes, NAME.

    Sizes and checksums are those that DataShare has published; where it is not known
    which, what the server says of the size and the archive's own checksums remain.
    """

    name: str
    identifier: str
    suffix: str  # of the files in it
    size: int | None = None
    md5: str | None = None

    def remote(self, url: str | None, check: bool) -> RemoteFile:
        """Describe where to download it."""
        file = f"{self.name}.zip"
        address = f"{url}/{file}" if url else f"{_STORE}/{self.identifier}/content"
        if not check:
            return RemoteFile(address, file)
        return RemoteFile(address, file, self.size, self.md5 and f"md5:{self.md5}")


@dataclass(frozen=True)
class _Set:
    """The training or the test set: its archives and what has to be in them."""

    noisy: _Archive
    clean: _Archive
    text: _Archive
    log: str  # its file in logfiles.zip
    pairs: int
    speakers: tuple[str, ...]


_LOGS = _Archive(
    "logfiles",
    "11185dc8-9cf1-405b-b858-35bd6a04aedd",
    ".txt",
    115_932,
    "0d16f5b6afe12d64238d1e4a0e6ff6e8",
)
_TRAIN = _Set(
    _Archive(
        "noisy_trainset_28spk_wav",
        "ecb5a102-bb00-46d3-8af5-40c79823b837",
        ".wav",
        2_830_205_201,
        "1fca9e8bafb8cd069f6653c6d92f9e9c",
    ),
    _Archive(
        "clean_trainset_28spk_wav",
        "245452b6-6235-44b6-a6f9-e7eb19797769",
        ".wav",
        2_486_057_279,
        "d2d5a45ec32f8fcbf201bde0447e20ba",
    ),
    _Archive("trainset_28spk_txt", "fb55b5de-c2db-4451-ac0a-134e98011ffa", ".txt"),
    "log_trainset_28spk.txt",
    11_572,
    tuple(
        f"p{number}"
        for number in (
            *(226, 227, 228, 230, 231, 233, 236, 239, 243, 244, 250, 254, 256, 258),
            *(259, 267, 268, 269, 270, 273, 274, 276, 277, 278, 279, 282, 286, 287),
        )
    ),
)
_TEST = _Set(
    _Archive(
        "noisy_testset_wav",
        "13c1bfbf-14a6-41db-9b41-8f7310f01ad5",
        ".wav",
        md5="fb1b86caa31e8ba5b506c0c64da9aab5",
    ),
    _Archive(
        "clean_testset_wav",
        "dec213d3-bf57-4777-9663-c24bdce92d5e",
        ".wav",
        md5="34eb1c0ba7ef667e9b966866c542fc16",
    ),
    _Archive("testset_txt", "09e12592-879e-4749-bf6d-e34cf0d1ddf6", ".txt"),
    "log_testset.txt",
    824,
    ("p232", "p257"),
)


def prepare(
    data_dir: str | Path,
    downloads: str | Path,
    root: str | Path | None = None,
    url: str | None = None,
    check_counts: bool = True,
    fs: int = SAMPLE_RATE,
    nj: int = 1,
) -> None:
    """Make tr_28spk, its parts tr_26spk and cv_2spk, and tt_2spk.

    They are parts of `data_dir`/formatted, where audio of another rate than `fs` is
    resampled to; `data_dir`/original lists the files as they were. What an interrupted
    call has downloaded, unpacked and resampled is kept.

    Args:
        data_dir: for the data directories.
        downloads: for archives and what is unpacked.
        root: where the database is already, unpacked or as archives; None downloads it.
        url: a folder on another server that has the archives.
        check_counts: whether archives, numbers of files and speakers have to be those of
            the published database.
        fs: samples per second.
        nj: number of processes.

    Raises:
        UserError: the database is not at `root`, incomplete, damaged or another one; or
            it cannot be downloaded.
    """
    data_dir, downloads = Path(data_dir), Path(downloads)
    if not check_counts:
        logging.warning(
            "archives, numbers of files and speakers are not compared with those of the"
            " published database"
        )
    source = _Source(root and Path(root), downloads, url, check_counts)
    source.check()
    logs = source.folder(_LOGS)
    original = DataDir(data_dir / "original", {}, {}, {})
    tables = {"text": {}, "utt2noise": {}, "utt2snr": {}}
    for subset in (_TRAIN, _TEST):
        noisy, clean = _pairs(subset, source)
        original.wav.update(noisy)
        original.spk1.update(clean)
        tables["text"].update(_transcripts(source.folder(subset.text), noisy))
        noises, snrs = _conditions(logs / subset.log, noisy)
        tables["utt2noise"].update(noises)
        tables["utt2snr"].update(snrs)
    original.utt2spk.update({name: _speaker(name) for name in original.wav})
    original.write()
    formatted = data_dir / "formatted"
    dataprep.format_data(original.path, formatted, fs=fs, nj=nj, source_rates=RATES)
    _write_sets(DataDir.read(formatted), tables)


@dataclass(frozen=True)
class _Source:
    """Where the database's parts are or come from."""

    root: Path | None
    downloads: Path
    url: str | None
    is_published: bool

    def check(self) -> None:
        """Make sure that a folder that was named has all the audio."""
        if self.root is None:
            return
        if not self.root.is_dir():
            raise UserError(
                f"VCTK_NOISY={self.root}: no such folder; correct it in db.sh, or leave"
                " it empty to download the database"
            )
        audio = [_TRAIN.noisy, _TRAIN.clean, _TEST.noisy, _TEST.clean]
        missing = [
            f"{archive.name}/"
            for archive in audio
            if self._unpacked(archive, self.root) is None
            and self._packed(archive) is None
        ]
        if missing:
            holds = sorted(path.name for path in self.root.iterdir())
            raise UserError(
                f"VCTK_NOISY={self.root}: there is no {', '.join(missing)} with .wav"
                f" files, nor a .zip of that name, in it or one folder deeper (it holds"
                f" {_some(holds) or 'nothing'}); name the folder that the archives of"
                f" {PAGE} are in, or leave it empty in db.sh to download them"
            )

    def folder(self, archive: _Archive) -> Path:
        """Return the folder of an archive's files, unpacked or downloaded if need be."""
        found = self.root and self._unpacked(archive, self.root)
        if found:
            return found
        packed, target = self._packed(archive), self.downloads / archive.name
        from_publisher = packed is None and self.url is None
        remote = archive.remote(self.url, self.is_published or from_publisher)
        if not target.exists():
            if packed is None:
                packed = fetch(remote, self.downloads)
            else:
                verify(packed, remote)
        packed = packed or self.downloads / remote.name
        if packed.exists():  # which is not needed any more, once it is unpacked
            unpack(packed, target)
        found = self._unpacked(archive, self.downloads)
        if found is None:
            raise UserError(
                f"{target}: holds no {archive.suffix} files, though it was unpacked from"
                f" {remote.name}; it is another archive than that of {PAGE}: remove both"
            )
        return found

    def _packed(self, archive: _Archive) -> Path | None:
        for folder in _with_subfolders(self.root):
            if (folder / f"{archive.name}.zip").is_file():
                return folder / f"{archive.name}.zip"
        return None

    def _unpacked(self, archive: _Archive, root: Path) -> Path | None:
        for folder in _with_subfolders(root):
            # Other people's recipes call resampled files so.
            for name in (archive.name, f"{archive.name}_16k"):
                for path in (folder / name, folder / name / name):
                    if any(path.glob(f"*{archive.suffix}")):
                        return path
            if archive is _LOGS and (folder / _TEST.log).is_file():
                return folder
        return None


def _with_subfolders(root: Path | None) -> list[Path]:
    if root is None:
        return []
    return [root, *sorted(path for path in root.iterdir() if path.is_dir())]


def _pairs(subset: _Set, source: _Source) -> tuple[dict[str, str], dict[str, str]]:
    """List a set's noisy and clean files and make sure that it is complete."""
    noisy_dir, clean_dir = source.folder(subset.noisy), source.folder(subset.clean)
    noisy, clean = list_audio(noisy_dir), list_audio(clean_dir)
    check_same_ids(str(noisy_dir), noisy, str(clean_dir), clean)
    strange = [name for name in noisy if not _NAME.fullmatch(name)]
    if strange:
        raise UserError(
            f"{noisy_dir}: {_some(strange)}: no names of this database, which are like"
            " p226_001; remove what does not belong to it"
        )
    _check_counts(noisy_dir, subset, noisy, source.is_published)
    return tuple(
        {name: str(path.absolute()) for name, path in side.items()}
        for side in (noisy, clean)
    )


def _speaker(name: str) -> str:
    return name.partition("_")[0]


def _check_counts(
    folder: Path, subset: _Set, names: Collection[str], is_published: bool
) -> None:
    found, expected = set(map(_speaker, names)), set(subset.speakers)
    if found - expected:
        raise UserError(
            f"{folder}: {_some(found - expected)} are no speakers of this set; remove"
            " what does not belong to it"
        )
    faults = []
    if expected - found:
        faults.append(f"missing speakers: {_some(expected - found)}")
    if len(names) != subset.pairs:
        faults.append(f"{len(names)} pairs in place of {subset.pairs}")
    if faults and is_published:
        raise UserError(
            f"{folder}: {'; '.join(faults)}; unpack the archives of {PAGE} again, or use"
            " a part of the database on purpose with --check_counts false"
        )


def _conditions(
    log: Path, utterances: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Read the noise and the SNR of each utterance."""
    if not log.is_file():
        raise UserError(f"{log}: no such file; unpack {_LOGS.name}.zip of {PAGE} again")
    noises, snrs = {}, {}
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not re.fullmatch(r"-?\d+(\.\d+)?", fields[2]):
            raise UserError(
                f"{log}:{number}: malformed line {line!r}; each must read "
                '"<utterance> <noise> <SNR in dB>"'
            )
        name = fields[0].removesuffix(".wav")
        noises[name], snrs[name] = fields[1], fields[2]
    missing = set(utterances) - noises.keys()
    if missing:
        raise UserError(
            f"{log}: says nothing of {_some(missing)}; unpack {_LOGS.name}.zip of"
            f" {PAGE} again, or remove these files"
        )
    return noises, snrs


def _transcripts(folder: Path, utterances: Iterable[str]) -> dict[str, str]:
    texts = {}
    for name in utterances:
        path = folder / f"{name}.txt"
        if path.is_file():
            # The odd byte of another encoding is no reason to stop.
            words = path.read_text(encoding="utf-8", errors="replace").split()
            texts[name] = " ".join(words)
    missing = [name for name in utterances if not texts.get(name)]
    if missing:
        logging.warning("%s: no transcript of %s", folder, _some(missing))
    return {name: text for name, text in texts.items() if text}


def _write_sets(whole: DataDir, tables: dict[str, dict[str, str]]) -> None:
    """Divide the database, the validation speakers held out of the training set."""
    num_samples = read_scp(whole.path / "utt2num_samples")
    train = set(whole.utt2spk.values()) - set(_TEST.speakers)
    sets = {
        "tr_28spk": train,
        "tr_26spk": train - set(VALIDATION_SPEAKERS),
        "cv_2spk": train & set(VALIDATION_SPEAKERS),
        "tt_2spk": set(_TEST.speakers),
    }
    for name, speakers in sets.items():
        utt2spk = {utt: spk for utt, spk in whole.utt2spk.items() if spk in speakers}
        if not utt2spk:
            raise UserError(
                f"{whole.path}: nothing is left for {name}: there are no speakers but"
                f" {_some(set(whole.utt2spk.values()))}, and"
                f" {' and '.join(VALIDATION_SPEAKERS)} are for validation"
            )
        path = whole.path.with_name(name)
        write_scp(path / "utt2num_samples", {utt: num_samples[utt] for utt in utt2spk})
        for file, table in tables.items():
            known = {utt: table[utt] for utt in utt2spk if utt in table}
            write_scp(path / file, known)
        DataDir(
            path,
            wav={utt: whole.wav[utt] for utt in utt2spk},
            spk1={utt: whole.spk1[utt] for utt in utt2spk},
            utt2spk=utt2spk,
        ).write()


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

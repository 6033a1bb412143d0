"""VoiceBank+DEMAND: the noisy speech database of 28 speakers for speech enhancement.

Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and
TTS models", University of Edinburgh, https://doi.org/10.7488/ds/2117 (CC BY 4.0): 11,572
pairs of 28 speakers to train on, 824 of two others to test, 48 kHz, mono.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from espnet2_bspmpnet.corpora.pairs import Pairs, find_pairs
from espnet2_bspmpnet.data import dataprep
from espnet2_bspmpnet.data.datadir import DataDir, read_scp, speaker_of
from espnet2_bspmpnet.errors import UserError, some_of
from espnet2_bspmpnet.files.download import RemoteFile, fetch, verify
from espnet2_bspmpnet.files.unpacking import unpack
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

PAGE = "https://doi.org/10.7488/ds/2117"
RATES = (48000, SAMPLE_RATE)
VALIDATION_SPEAKERS = ("p226", "p287")

_NAME = re.compile(r"p\d{3}_\d{3}")
_STORE = "https://datashare.ed.ac.uk/server/api/core/bitstreams"
_IDENTIFIERS = {  # archive, and folder that it makes -> its place in the store
    "noisy_trainset_28spk_wav": "ecb5a102-bb00-46d3-8af5-40c79823b837",
    "clean_trainset_28spk_wav": "245452b6-6235-44b6-a6f9-e7eb19797769",
    "trainset_28spk_txt": "fb55b5de-c2db-4451-ac0a-134e98011ffa",
    "noisy_testset_wav": "13c1bfbf-14a6-41db-9b41-8f7310f01ad5",
    "clean_testset_wav": "dec213d3-bf57-4777-9663-c24bdce92d5e",
    "testset_txt": "09e12592-879e-4749-bf6d-e34cf0d1ddf6",
    "logfiles": "11185dc8-9cf1-405b-b858-35bd6a04aedd",
}
# Sizes and MD5s that DataShare has published. Of the other archives it is not known which
# are theirs: what the server says of the size, and the archives' own checksums remain.
_PUBLISHED = {
    "noisy_trainset_28spk_wav": (2_830_205_201, "1fca9e8bafb8cd069f6653c6d92f9e9c"),
    "clean_trainset_28spk_wav": (2_486_057_279, "d2d5a45ec32f8fcbf201bde0447e20ba"),
    "noisy_testset_wav": (None, "fb1b86caa31e8ba5b506c0c64da9aab5"),
    "clean_testset_wav": (None, "34eb1c0ba7ef667e9b966866c542fc16"),
    "logfiles": (115_932, "0d16f5b6afe12d64238d1e4a0e6ff6e8"),
}


class _Set(NamedTuple):
    """The training or the test set, and what has to be in its archives."""

    name: str
    pairs: int
    speakers: frozenset[str]

    @property
    def audio(self) -> tuple[str, str]:
        return f"noisy_{self.name}_wav", f"clean_{self.name}_wav"

    @property
    def log(self) -> str:
        return f"log_{self.name}.txt"


_TRAIN = _Set(
    "trainset_28spk",
    11_572,
    frozenset(
        f"p{number}"
        for number in (
            *(226, 227, 228, 230, 231, 233, 236, 239, 243, 244, 250, 254, 256, 258),
            *(259, 267, 268, 269, 270, 273, 274, 276, 277, 278, 279, 282, 286, 287),
        )
    ),
)
_TEST = _Set("testset", 824, frozenset({"p232", "p257"}))


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

    Raises a UserError if the database is not at `root`, incomplete, damaged or another
    one; or it cannot be downloaded.
    """
    data_dir, downloads = Path(data_dir), Path(downloads)
    if not check_counts:
        logging.warning(
            "archives, numbers of files and speakers are not compared with those of the"
            " published database"
        )
    source = _Source(root and Path(root), downloads, url, check_counts)
    source.check()
    logs = source.folder("logfiles")
    pairs, tables = {}, {"text": {}, "utt2noise": {}, "utt2snr": {}}
    for subset in (_TRAIN, _TEST):
        found = _pairs(subset, source)
        pairs |= found
        tables["text"] |= _transcripts(source.folder(f"{subset.name}_txt"), found)
        for name, table in _conditions(logs / subset.log, found).items():
            tables[name] |= table
    original, formatted = data_dir / "original", data_dir / "formatted"
    DataDir.of_pairs(original, pairs).write()
    dataprep.format_data(original, formatted, fs=fs, nj=nj, source_rates=RATES)
    tables["utt2num_samples"] = read_scp(formatted / "utt2num_samples")
    _write_sets(DataDir.read(formatted), tables)


@dataclass(frozen=True)
class _Source:
    """Where the database's archives are or come from, and the folders that they make."""

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
        missing = [
            f"{archive}/"
            for archive in (*_TRAIN.audio, *_TEST.audio)
            if not (self._unpacked(archive, self.root) or self._packed(archive))
        ]
        if missing:
            holds = some_of(path.name for path in self.root.iterdir())
            raise UserError(
                f"VCTK_NOISY={self.root}: there is no {', '.join(missing)} with .wav"
                f" files, nor a .zip of that name, in it or one folder deeper (it holds"
                f" {holds or 'nothing'}); name the folder that the archives of"
                f" {PAGE} are in, or leave it empty in db.sh to download them"
            )

    def folder(self, archive: str) -> Path:
        """Return the folder of an archive's files, unpacked or downloaded if need be."""
        if self.root and (found := self._unpacked(archive, self.root)):
            return found
        packed, target = self._packed(archive), self.downloads / archive
        remote = self._remote(archive, from_publisher=not (packed or self.url))
        if packed and not target.exists():
            verify(packed, remote)
        elif not target.exists():
            fetch(remote, self.downloads)
        packed = packed or self.downloads / remote.name
        if packed.exists():  # which is not needed any more, once it is unpacked
            unpack(packed, target)
        found = self._unpacked(archive, self.downloads)
        if found is None:
            raise UserError(
                f"{target}: holds no {_suffix(archive)} files, though it was unpacked"
                f" from {remote.name}; it is another archive than that of {PAGE}: remove"
                " both"
            )
        return found

    def _remote(self, archive: str, from_publisher: bool) -> RemoteFile:
        file = f"{archive}.zip"
        place = f"{_STORE}/{_IDENTIFIERS[archive]}/content"
        address = f"{self.url}/{file}" if self.url else place
        if not (self.is_published or from_publisher):
            return RemoteFile(address, file)
        size, md5 = _PUBLISHED.get(archive, (None, None))
        return RemoteFile(address, file, size, md5 and f"md5:{md5}")

    def _packed(self, archive: str) -> Path | None:
        folders = _with_subfolders(self.root) if self.root else ()
        files = (folder / f"{archive}.zip" for folder in folders)
        return next(filter(Path.is_file, files), None)

    def _unpacked(self, archive: str, root: Path) -> Path | None:
        for folder in _with_subfolders(root):
            # Other people's recipes name resampled files so.
            for name in (archive, f"{archive}_16k"):
                for path in (folder / name, folder / name / name):
                    if any(path.glob(f"*{_suffix(archive)}")):
                        return path
            if archive == "logfiles" and (folder / _TEST.log).is_file():
                return folder
        return None


def _with_subfolders(root: Path) -> list[Path]:
    return [root, *sorted(path for path in root.iterdir() if path.is_dir())]


def _suffix(archive: str) -> str:
    return ".wav" if archive.endswith("_wav") else ".txt"


def _pairs(subset: _Set, source: _Source) -> Pairs:
    """List a set's noisy and clean files and make sure that it is complete."""
    noisy_dir, clean_dir = map(source.folder, subset.audio)
    pairs = find_pairs(noisy_dir, clean_dir)
    strange = [name for name in pairs if not _NAME.fullmatch(name)]
    if strange:
        raise UserError(
            f"{noisy_dir}: {some_of(strange)}: not named as in this database (p226_001);"
            " remove what does not belong to it"
        )
    speakers = set(map(speaker_of, pairs))
    if speakers - subset.speakers:
        raise UserError(
            f"{noisy_dir}: {some_of(speakers - subset.speakers)} are no speakers of this"
            " set; remove what does not belong to it"
        )
    faults = []
    if subset.speakers - speakers:
        faults.append(f"missing speakers: {some_of(subset.speakers - speakers)}")
    if len(pairs) != subset.pairs:
        faults.append(f"{len(pairs)} pairs in place of {subset.pairs}")
    if faults and source.is_published:
        raise UserError(
            f"{noisy_dir}: {'; '.join(faults)}; unpack the archives of {PAGE} again, or"
            " use a part of the database on purpose with --check_counts false"
        )
    return pairs


def _conditions(log: Path, utterances: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read the noise and the SNR of each utterance."""
    if not log.is_file():
        raise UserError(f"{log}: no such file; unpack logfiles.zip of {PAGE} again")
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
            f"{log}: has no line for {some_of(missing)}; unpack logfiles.zip of {PAGE}"
            " again, or remove these files"
        )
    return {"utt2noise": noises, "utt2snr": snrs}


def _transcripts(folder: Path, utterances: Iterable[str]) -> dict[str, str]:
    texts = {}
    for name in utterances:
        path = folder / f"{name}.txt"
        # The odd byte of another encoding is no reason to stop.
        if path.is_file() and (words := path.read_text("utf-8", "replace").split()):
            texts[name] = " ".join(words)
    if missing := set(utterances) - texts.keys():
        logging.warning("%s: no transcript of %s", folder, some_of(missing))
    return texts


def _write_sets(whole: DataDir, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Divide the database, the validation speakers held out of the training set."""
    there = set(whole.utt2spk.values())
    train, valid = there - _TEST.speakers, set(VALIDATION_SPEAKERS)
    sets = {
        "tr_28spk": train,
        "tr_26spk": train - valid,
        "cv_2spk": train & valid,
        "tt_2spk": _TEST.speakers,
    }
    for name, speakers in sets.items():
        chosen = [utt for utt, spk in whole.utt2spk.items() if spk in speakers]
        if not chosen:
            raise UserError(
                f"{whole.path}: nothing is left for {name}: there are no speakers but"
                f" {some_of(there)}, and {' and '.join(VALIDATION_SPEAKERS)} are for"
                " validation"
            )
        whole.subset(whole.path.with_name(name), chosen).write(tables)

"""Kaldi-style data directories: read, check, write beside and rename."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet2_bspmpnet.data.audio import AudioInfo, audio_info, read_audio
from espnet2_bspmpnet.errors import UserError, listing, some_of
from espnet2_bspmpnet.files.atomic import remove, write_text

FLOATS = ("FLOAT", "DOUBLE")
MIXED_WITH = ("utt2noise", "utt2snr")  # lists that other data must not inherit
TIMES = "utt2seconds"  # list of the seconds that enhancing each utterance took


def read_scp(path: str | Path, need_values: bool = True) -> dict[str, str]:
    """Read lines "<id> <value>", or, unless `need_values`, an id alone, in their order.

    Raises:
        UserError: missing or empty file, malformed line, or an id used twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the step that makes it first")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from error
    entries: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split(maxsplit=1)
        if len(fields) < 1 + need_values:
            raise UserError(
                f"{path}:{number}: malformed line {line!r}; "
                'each line must read "<id> <value>"'
            )
        if fields[0] in entries:
            raise UserError(
                f"{path}:{number}: id {fields[0]} is there twice; remove one line"
            )
        entries[fields[0]] = "".join(fields[1:]).rstrip()
    if not entries:
        raise UserError(f"{path}: the file is empty; run the step that makes it again")
    return entries


def write_scp(path: str | Path, entries: Mapping[str, object]) -> None:
    """Write lines "<id> <value>", sorted by id, whole or not at all."""
    lines = (f"{key} {entries[key]}".rstrip() + "\n" for key in sorted(entries))
    write_text(path, "".join(lines))


def check_same_ids(
    name: str, ids: Iterable[str], other_name: str, other_ids: Iterable[str]
) -> None:
    """Make sure that two lists hold the same ids.

    Raises:
        UserError: naming up to five ids that only one of the lists has.
    """
    ids, other_ids = set(ids), set(other_ids)
    parts = [
        f"{len(alone)} only in {here}, not in {there}: {some_of(alone)}"
        for alone, here, there in (
            (ids - other_ids, name, other_name),
            (other_ids - ids, other_name, name),
        )
        if alone
    ]
    if parts:
        raise UserError(
            f"ids differ: {'; '.join(parts)}; add the missing ones or remove the others"
        )


@dataclass
class DataDir:
    """A set of utterances as Kaldi and ESPnet keep it."""

    path: Path
    wav: dict[str, str]  # utterance id -> path of the noisy audio (wav.scp)
    spk1: dict[str, str] | None  # utterance id -> path of the clean audio (spk1.scp)
    utt2spk: dict[str, str]  # utterance id -> speaker

    @classmethod
    def of_pairs(
        cls,
        path: str | Path,
        pairs: Mapping[str, tuple[Path, Path]],
        utt2spk: dict[str, str] | None = None,
    ) -> "DataDir":
        """Describe utterance id -> (noisy, clean) file, yet unwritten.

        Without utt2spk the speaker is the part of the id before the first "_".
        """
        wav = {utterance: str(noisy) for utterance, (noisy, _) in pairs.items()}
        spk1 = {utterance: str(clean) for utterance, (_, clean) in pairs.items()}
        utt2spk = utt2spk or {utterance: speaker_of(utterance) for utterance in pairs}
        return cls(Path(path), wav, spk1, utt2spk)

    @classmethod
    def read(cls, path: str | Path, need_reference: bool = True) -> "DataDir":
        """Read wav.scp, spk1.scp and utt2spk.

        Raises:
            UserError: missing or empty folder or file (spk1.scp if `need_reference`),
                ids that differ, a malformed line, or a command in place of a path.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(
                f"{path}: no such data directory; prepare the data first (stage 1)"
            )
        if not (path / "wav.scp").is_file():
            raise UserError(
                f"{path}: an empty data directory, it has no wav.scp; "
                "prepare the data again (stage 1)"
            )
        wav = read_scp(path / "wav.scp")
        spk1 = None
        if need_reference or (path / "spk1.scp").exists():
            spk1 = read_scp(path / "spk1.scp")
            check_same_ids(path / "wav.scp", wav, path / "spk1.scp", spk1)
        utt2spk = {utterance: utterance for utterance in wav}
        if (path / "utt2spk").exists():
            utt2spk = read_scp(path / "utt2spk")
            check_same_ids(path / "wav.scp", wav, path / "utt2spk", utt2spk)
        for name, entries in (("wav.scp", wav), ("spk1.scp", spk1 or {})):
            for utterance, value in entries.items():
                if value.endswith("|"):
                    raise UserError(
                        f"{path / name}: {utterance} is a command ({value}), but a file"
                        " is needed; run the command once and name its output"
                    )
        return cls(path, wav, spk1, utt2spk)

    def files(self, utterance: str) -> tuple[str, ...]:
        """Give an utterance's noisy and, if there is one, clean file."""
        lists = (self.wav,) if self.spk1 is None else (self.wav, self.spk1)
        return tuple(files[utterance] for files in lists)

    def subset(self, path: str | Path, utterances: Iterable[str]) -> "DataDir":
        """Describe some of the utterances as another data directory."""
        utterances = list(utterances)
        wav, spk1, utt2spk = (
            table and {utterance: table[utterance] for utterance in utterances}
            for table in (self.wav, self.spk1, self.utt2spk)
        )
        return DataDir(Path(path), wav, spk1, utt2spk)

    def write(self, tables: Mapping[str, Mapping[str, object]] | None = None) -> None:
        """Write wav.scp, spk1.scp, utt2spk, spk2utt and further lists.

        wav.scp is removed first and written last: without it a folder is not read.

        Args:
            tables: further lists, name -> utterance id -> value, such as text or
                utt2snr. Ids of other sets are left out; lists that end up empty, and
                those of `MIXED_WITH` that are not given, are removed. None keeps all.
        """
        remove(self.path / "wav.scp")
        speakers: dict[str, list[str]] = {}
        for utterance, speaker in sorted(self.utt2spk.items()):
            speakers.setdefault(speaker, []).append(utterance)
        spk2utt = {speaker: " ".join(ids) for speaker, ids in speakers.items()}
        lists = {"spk1.scp": self.spk1, "utt2spk": self.utt2spk, "spk2utt": spk2utt}
        if tables is not None:
            for name, table in {**dict.fromkeys(MIXED_WITH, {}), **tables}.items():
                lists[name] = {id_: table[id_] for id_ in self.wav if id_ in table}
        for name, entries in lists.items():
            if entries:
                write_scp(self.path / name, entries)
            else:
                remove(self.path / name)
        write_scp(self.path / "wav.scp", self.wav)


def speaker_of(utterance: str) -> str:
    """Take the part of an utterance's id before the first "_" for its speaker."""
    return utterance.partition("_")[0]


def check_pairs(datadir: DataDir) -> None:
    """Make sure that every file opens and that noisy and clean belong together.

    Raises:
        UserError: one message with up to ten problems and their number.
    """
    problems = []
    for utterance in sorted(datadir.wav):
        try:
            check_pair(utterance, datadir.files(utterance))
        except UserError as error:
            problems.append(error)
    if problems:
        heading = f"{datadir.path}: {len(problems)} problem(s) in the audio"
        raise listing(heading, problems)


def check_pair(utterance: str, paths: Sequence[str]) -> list[AudioInfo]:
    """Make sure that an utterance's noisy and clean files open and belong together.

    Raises:
        UserError: names each file that is at fault.
    """
    faults, infos = [], []
    for path in paths:
        try:
            info = audio_info(path)
            # Integers are always finite: only the header of such files is read.
            if info.channels != 1 or info.frames == 0 or info.subtype in FLOATS:
                read_audio(path)
            infos.append(info)
        except UserError as error:
            faults.append(str(error))
    if len(infos) == 2:
        noisy, clean = infos
        if noisy.rate != clean.rate:
            faults.append(
                f"{paths[0]} has {noisy.rate} Hz but {paths[1]} has "
                f"{clean.rate} Hz; resample one of them"
            )
        elif noisy.frames != clean.frames:
            faults.append(
                f"{paths[0]} has {noisy.frames} samples but {paths[1]} "
                f"has {clean.frames}; cut both to the same part of the recording"
            )
    if faults:
        raise UserError(f"{utterance}: " + f"\n  {utterance}: ".join(faults))
    return infos

"""Kaldi-style data directories: read, check, write beside and rename."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import remove, write_text

SHOWN_IDS = 5
SHOWN_FILES = 10
FLOATS = ("FLOAT", "DOUBLE")
TIMES = "utt2seconds"  # list of the seconds that enhancing each utterance took


def read_scp(path: str | Path) -> dict[str, str]:
    """Read a file of lines "<id> <value>".

    Args:
        path: e.g. wav.scp, utt2spk or utt2num_samples.

    Returns:
        id -> value, in the order of the file.

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
        if len(fields) != 2:
            raise UserError(
                f"{path}:{number}: malformed line {line!r}; "
                'each line must read "<id> <value>"'
            )
        if fields[0] in entries:
            raise UserError(
                f"{path}:{number}: id {fields[0]} is there twice; remove one line"
            )
        entries[fields[0]] = fields[1].rstrip()
    if not entries:
        raise UserError(f"{path}: the file is empty; run the step that makes it again")
    return entries


def write_scp(path: str | Path, entries: Mapping[str, object]) -> None:
    """Write lines "<id> <value>", sorted by id, whole or not at all.

    Args:
        path: the file to make.
        entries: id -> value.
    """
    write_text(path, "".join(f"{key} {entries[key]}\n" for key in sorted(entries)))


def check_same_ids(
    name: str, ids: Iterable[str], other_name: str, other_ids: Iterable[str]
) -> None:
    """Make sure that two lists hold the same ids.

    Args:
        name: where `ids` come from, for the message.
        ids: the ids of one list.
        other_name: where `other_ids` come from.
        other_ids: the ids of the other list.

    Raises:
        UserError: naming up to five ids that only one of the lists has.
    """
    ids, other_ids = set(ids), set(other_ids)
    parts = []
    for alone, here, there in (
        (ids - other_ids, name, other_name),
        (other_ids - ids, other_name, name),
    ):
        if alone:
            parts.append(f"{len(alone)} only in {here}, not in {there}: {_some(alone)}")
    if parts:
        raise UserError(
            f"ids differ: {'; '.join(parts)}; add the missing ones or remove the others"
        )


def _some(ids: Iterable[str]) -> str:
    ids = sorted(ids)
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return ", ".join(ids[:SHOWN_IDS]) + more


@dataclass
class DataDir:
    """A set of utterances as Kaldi and ESPnet keep it.

    Args:
        path: the folder.
        wav: utterance id -> path of the noisy audio (wav.scp).
        spk1: utterance id -> path of the clean audio (spk1.scp), or None.
        utt2spk: utterance id -> speaker.
    """

    path: Path
    wav: dict[str, str]
    spk1: dict[str, str] | None
    utt2spk: dict[str, str]

    @classmethod
    def read(cls, path: str | Path, need_reference: bool = True) -> "DataDir":
        """Read wav.scp, spk1.scp and utt2spk.

        Args:
            path: the folder.
            need_reference: whether a missing spk1.scp is an error.

        Raises:
            UserError: missing or empty folder or file, ids that differ between
                the files, a malformed line, or a command in place of a path.
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
            _refuse_commands(path / name, entries)
        return cls(path, wav, spk1, utt2spk)

    def files(self, utterance: str) -> tuple[str, ...]:
        """Give an utterance's noisy and, if there is one, clean file."""
        if self.spk1 is None:
            return (self.wav[utterance],)
        return self.wav[utterance], self.spk1[utterance]

    def write(self) -> None:
        """Write wav.scp, spk1.scp, utt2spk and spk2utt.

        wav.scp goes first and comes last: without it a folder is not read.
        """
        remove(self.path / "wav.scp")
        speakers: dict[str, list[str]] = {}
        for utterance in sorted(self.utt2spk):
            speakers.setdefault(self.utt2spk[utterance], []).append(utterance)
        if self.spk1 is None:
            (self.path / "spk1.scp").unlink(missing_ok=True)
        else:
            write_scp(self.path / "spk1.scp", self.spk1)
        write_scp(self.path / "utt2spk", self.utt2spk)
        write_scp(
            self.path / "spk2utt",
            {speaker: " ".join(ids) for speaker, ids in speakers.items()},
        )
        write_scp(self.path / "wav.scp", self.wav)


def _refuse_commands(path: Path, entries: Mapping[str, str]) -> None:
    for utterance, value in entries.items():
        if value.endswith("|"):
            raise UserError(
                f"{path}: {utterance} is a command ({value}), but a file is needed; "
                "run the command once and name its output"
            )


def check_pairs(datadir: DataDir) -> None:
    """Make sure that every file opens and that noisy and clean belong together.

    Args:
        datadir: pairs, or noisy audio alone.

    Raises:
        UserError: one message with up to ten culprits and their number.
    """
    culprits = []
    for utterance in sorted(datadir.wav):
        try:
            check_pair(utterance, datadir.files(utterance))
        except UserError as error:
            culprits.append(str(error))
    if not culprits:
        return
    more = len(culprits) - SHOWN_FILES
    lines = culprits[:SHOWN_FILES] + ([f"and {more} more"] if more > 0 else [])
    raise UserError(
        f"{datadir.path}: {len(culprits)} problem(s) in the audio:\n  "
        + "\n  ".join(lines)
    )


def check_pair(utterance: str, paths: Sequence[str]) -> list:
    """Make sure that an utterance's files open and belong together.

    Args:
        utterance: its id, for the message.
        paths: the noisy and, if there is one, the clean file.

    Returns:
        An audio.AudioInfo of each.

    Raises:
        UserError: names each file that is at fault.
    """
    from espnet2_bspmpnet.data.audio import audio_info, read_audio

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

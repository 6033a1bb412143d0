"""How enhanced recordings are written: their formats, and never over their inputs."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.data.recording_writer import (
    CONTAINERS,
    OutputFormat,
    RecordingWriter,
)
from espnet2_bspmpnet.data.recordings import Recording, printable
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import naming
from espnet2_bspmpnet.inference.events import Task

_CONTAINERS = {f".{name}": name for name in CONTAINERS} | {
    ".aif": "aiff",
    ".aifc": "aiff",
    ".oga": "ogg",
    ".snd": "au",
}


@dataclass(frozen=True)
class Outputs:
    """How files are written.

    Args:
        container: one of recording_writer.CONTAINERS; None goes by the output's name.
        bits: one of recording_writer.BITS; None keeps the input's.
        normalize: bring the peak to -1 dBFS.
        parts: folder, on the same disk, for what is not whole yet; None puts that
            beside the output.
    """

    container: str | None = None
    bits: str | None = None
    normalize: bool = False
    parts: str | None = None

    def format(self, recording: Recording, path: str) -> OutputFormat:
        """Choose the format: that of the recording, unless its name says otherwise.

        Raises:
            UserError: no format has this name, or it cannot hold the recording.
        """
        chosen = OutputFormat.like(recording, self.container, self.bits)
        suffix = os.path.splitext(path)[1].lower()
        if self.container or suffix in ("", chosen.suffix.lower()):
            return chosen
        if suffix not in _CONTAINERS:
            raise UserError(
                f"{printable(path)}: files of this kind cannot be written; use"
                f" {', '.join(_CONTAINERS)}"
            )
        return OutputFormat.like(recording, _CONTAINERS[suffix], self.bits)

    def write(
        self, task: Task, recording: Recording, blocks: Iterable[np.ndarray]
    ) -> tuple[float, str]:
        """Write an enhanced recording, whole or not at all.

        Args:
            task: names input and output.
            recording: the input; may be closed.
            blocks: samples [C, n].

        Returns:
            the gain in dB that kept it from clipping, or normalised it; and a note if
            the input's format cannot be written.

        Raises:
            UserError: it would overwrite its input, or cannot be written so.
            MachineError: the disk is full, or no permission to write there.
        """
        path = task.output
        chosen = self.format(recording, path)
        if _are_same(task.source, path):
            raise UserError("its output would overwrite it; choose another")
        part = Path(path)
        if self.parts is not None:
            part = Path(self.parts, hashlib.sha1(os.fsencode(path)).hexdigest())
        shape = recording.rate, recording.channels
        try:
            with RecordingWriter(
                part, *shape, chosen, self.normalize, recording.tags
            ) as writer:
                for block in blocks:
                    writer.write(block)
        except UserError as error:
            message = str(error).replace(str(part), printable(path))
            raise type(error)(message) from error.__cause__
        if self.parts is not None:
            with naming(Path(path)):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.replace(part, path)
        return writer.gain_db, chosen.note


def _are_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # one of them is not there
        return False

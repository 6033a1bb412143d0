"""Stage 7: enhance the list of a data directory, in batches and windows.

Each utterance goes to wavs/1/ID.wav, and onto spk1.scp and utt2seconds as soon as that is
whole.  Utterances share batches as they stand in the whole list, so that the samples are
the same to the last bit, however the list was split into jobs and whatever a job that was
killed had done.
"""

from argparse import Namespace
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import yaml

from espnet2_bspmpnet.data.audio import audio_info
from espnet2_bspmpnet.data.datadir import TIMES, read_scp
from espnet2_bspmpnet.errors import UserError, summary
from espnet2_bspmpnet.files.atomic import append_text, remove, write_text
from espnet2_bspmpnet.inference.attempts import LIST, keep_enhanced
from espnet2_bspmpnet.inference.batches import Batches
from espnet2_bspmpnet.inference.enhancer import Enhancer
from espnet2_bspmpnet.inference.events import Chunk, Done, Event, Failed, Task
from espnet2_bspmpnet.inference.outputs import Outputs

CHUNK = 16  # utterances that follow each other in the list, and may share a batch


def enhance_lists(options: Namespace) -> None:
    """Enhance the utterances of a list.

    Args:
        options: ``train_config`` and ``model_file`` of an experiment,
            ``inference_config``, the list ``wav_scp``, ``key_file``, ``output_dir``,
            ``fs``, ``ngpu``, ``resume``: see bin/enh_inference.py.

    Raises:
        UserError: the model is missing or damaged, or recordings are unreadable or at
            another rate; the others are enhanced before.
    """
    load = partial(_load, options)
    utterances = read_scp(options.wav_scp)
    wanted = set(read_scp(options.key_file) if options.key_file else utterances)
    if unknown := wanted - utterances.keys():
        raise UserError(
            f"{options.key_file}: {min(unknown)} is not in {options.wav_scp}"
        )
    done = keep_enhanced(options.output_dir) if options.resume else set()
    lists = _Lists(Path(options.output_dir).resolve())
    chunks = list(lists.chunks(utterances, wanted - done, options.fs))
    if chunks:
        lists.begin()
        try:
            Batches(load, Outputs("wav", "16"))(iter(chunks), lists.note)
        finally:
            lists.sort(utterances)
    if lists.errors:
        raise summary(lists.errors, len(wanted - done), "enhancing")


def pcs_output_of(path: str | None) -> str | None:
    """Read pcs_output from a configuration like conf/inference_natural.yaml.

    Returns:
        None where no file is given, or where it says anything else as well.
    """
    if path is None:
        return None
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    match content:
        case {"separator_conf": {"pcs_output": str(chosen), **more}, **others}:
            return None if more or others else chosen
    return None


def _load(options: Namespace) -> Enhancer:
    return Enhancer.from_pretrained(
        Path(options.train_config).parent,
        model_file=Path(options.model_file).name,
        pcs_output=pcs_output_of(options.inference_config),
        device="cuda" if options.ngpu else "cpu",
    )


class _Lists:
    """The lists of what is enhanced.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.errors: list[UserError] = []
        self._utterances: dict[str, str] = {}  # by their outputs

    def begin(self) -> None:
        """Remove the lists of an earlier start."""
        for name in (LIST, TIMES):
            remove(self.folder / name)

    def sort(self, utterances: Iterable[str]) -> None:
        """Bring the lists into the order of these utterances."""
        for path in (self.folder / LIST, self.folder / TIMES):
            if path.is_file():
                entries = read_scp(path)
                known = {key: entries[key] for key in utterances if key in entries}
                write_text(path, "".join(f"{k} {v}\n" for k, v in known.items()))

    def chunks(
        self, utterances: dict[str, str], wanted: set[str], rate: int
    ) -> Iterator[Chunk]:
        """Give the chunks in which something is wanted; note what has another rate."""
        keys = list(utterances)
        for first in range(0, len(keys), CHUNK):
            mine = keys[first : first + CHUNK]
            if wanted.isdisjoint(mine):
                continue
            chunk = []
            for key in mine:
                output = str(self.folder / "wavs/1" / f"{key}.wav")
                self._utterances[output] = key
                task = Task(utterances[key], output, key in wanted)
                if self._is_good(task, rate):
                    chunk.append(task)
            yield chunk

    def _is_good(self, task: Task, rate: int) -> bool:
        try:
            found = audio_info(task.source).rate
            if found != rate:
                raise UserError(
                    f"{task.source}: {found} Hz, but --fs is {rate}; resample it first"
                    " (bspmpnet format_data does)"
                )
        except UserError as error:
            if task.wanted:
                self.errors.append(error)
            return False
        return True

    def note(self, event: Event) -> None:
        """Put an utterance on the lists, or its error aside."""
        if isinstance(event, Done):
            key = self._utterances[event.task.output]
            append_text(self.folder / TIMES, f"{key} {event.took:.4f}\n")
            append_text(self.folder / LIST, f"{key} {event.task.output}\n")
        elif isinstance(event, Failed):
            self.errors.append(UserError(f"{event.task.source}: {event.reason}"))
            if event.is_last:
                raise self.errors[-1]

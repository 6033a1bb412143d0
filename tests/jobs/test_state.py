"""Whether a step is new, resumed, waited for or refused."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.jobs.state import (
    begin_step,
    checksum,
    end_step,
    queued_job,
    started_from_scratch,
    starts_from_scratch,
)


@pytest.fixture
def data(tmp_path) -> Path:
    """A data directory."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text("u1 a.wav\n")
    (tmp_path / "data/spk1.scp").write_text("u1 b.wav\n")
    return tmp_path / "data"


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Path:
    """A file with what Slurm says of any job; a job that it has finished, at first."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "queue").write_text("1|COMPLETED|None\n")
    squeue = tmp_path / "bin/squeue"
    squeue.write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    return tmp_path / "queue"


def note_job(folder: Path) -> None:
    """As bspmpnet-slurm does."""
    (folder / "slurm").mkdir(parents=True)
    (folder / "slurm/train.job").write_text("17\n")


def test_a_step_is_run_until_it_has_ended_well(data, tmp_path):
    marker = tmp_path / "dump/.done"
    assert begin_step(marker, [data], "format").run
    assert begin_step(marker, [data], "format").run  # the first was killed
    assert not marker.exists()
    end_step(marker)
    answer = begin_step(marker, [data], "format")
    assert answer == (False, f"done already (to redo it, remove {marker})")
    marker.unlink()
    assert begin_step(marker, [data], "format").run


def test_a_step_is_redone_when_its_command_or_what_it_reads_has_changed(data, tmp_path):
    marker = tmp_path / "dump/.done"

    def is_done(command: str = "format --fs 16k") -> bool:
        done = not begin_step(marker, [data], command).run
        if not done:
            end_step(marker)
        return done

    assert not is_done() and is_done()
    assert not is_done("format --fs 8k") and not is_done()
    (data / "wav.scp").write_text("u1 a.wav\nu2 a.wav\n")
    assert not is_done() and is_done()
    (data / "wav.scp").touch()
    (data / ".hidden").touch()
    assert is_done()


def test_a_command_that_ends_with_an_empty_option_can_be_done(tmp_path):
    marker = tmp_path / ".done"
    begin_step(marker, [], "local/data.sh --url ")
    end_step(marker)
    assert not begin_step(marker, [], "local/data.sh --url ").run


def test_what_was_killed_while_it_redid_a_step_leaves_no_marker(data, tmp_path):
    marker = tmp_path / "dump/.done"
    begin_step(marker, [data], "format --fs 16k")
    end_step(marker)
    begin_step(marker, [data], "format --fs 8k")
    assert not marker.exists()
    assert begin_step(marker, [data], "format --fs 16k").run


def test_the_checksum_is_that_of_the_shell_pipelines_before(data, tmp_path):
    """Experiments have noted their data's: what `.trained_on` holds stays comparable."""
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/a b").write_text("n")
    (data / "utt2spk").symlink_to(tmp_path / "noise/a b")
    (data / ".done").touch()
    (data / "folder").mkdir()
    paths = [tmp_path / "noise", data, tmp_path / "missing"]
    find = "find -L %s -maxdepth 1 -type f -not -name '.*' -print0 2>/dev/null"
    script = f"({find % ' '.join(map(str, paths))}) | LC_ALL=C sort -z | xargs -0r cat"
    said = subprocess.run(["sh", "-c", f"{script} | cksum"], capture_output=True)
    assert checksum(paths) == said.stdout.decode().strip() == "4006314381 20"
    assert checksum([tmp_path / "missing"]) == "4294967295 0"


def test_a_marker_that_is_read_counts_by_its_time(data):
    """A step that was redone may have made other audio under the same names."""
    marker = data / ".done"
    marker.write_text("key")
    before = checksum([data, marker])
    assert checksum([data, marker]) == before
    os.utime(marker, (1, 1))
    assert checksum([data, marker]) != before


def test_in_a_folder_that_resumes_the_same_command_finds_what_it_has_made(
    data, tmp_path
):
    folder = tmp_path / "enhanced"
    made = folder / "wavs/u1.wav"

    def begin(command: str) -> None:
        assert begin_step(folder / ".done", [data], command, resumes_in=folder).run

    begin("enhance")
    made.parent.mkdir()
    made.touch()
    begin("enhance")
    assert made.exists()
    begin("enhance --segment_size 1")
    assert not made.parent.exists()


def test_what_is_finished_and_to_be_redone_starts_in_an_empty_folder(data, tmp_path):
    folder = tmp_path / "enhanced"
    step = {"reads": [data], "runs": "enhance", "resumes_in": folder}
    begin_step(folder / ".done", **step)
    (folder / "u1.wav").touch()
    end_step(folder / ".done")
    (folder / ".done").unlink()
    assert begin_step(folder / ".done", **step).run
    assert not (folder / "u1.wav").exists()


def test_a_folder_that_was_half_emptied_is_not_resumed(data, tmp_path, monkeypatch):
    folder, marker = tmp_path / "logdir", tmp_path / ".recognised"
    begin_step(marker, [data], "recognise", resumes_in=folder)
    folder.mkdir()
    (folder / "half").touch()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", interrupt)
        begin_step(marker, [data], "recognise --beam_size 5", resumes_in=folder)
    begin_step(marker, [data], "recognise", resumes_in=folder)
    assert not folder.exists()


def interrupt(*arguments, **options) -> None:
    raise KeyboardInterrupt


def test_a_folder_that_a_job_still_writes_to_is_not_emptied(data, tmp_path, queue):
    folder = tmp_path / "enhanced"
    step = {"reads": [data], "resumes_in": folder}
    begin_step(folder / ".done", runs="enhance", **step)
    note_job(folder / "logdir")
    queue.write_text("1|RUNNING|None\n2|COMPLETED|None\n")
    (folder / ".done").touch()
    with pytest.raises(UserError, match=f"job 17, .* writes to {folder}: .*scancel 17"):
        begin_step(folder / ".done", runs="enhance --fs 8k", **step)
    assert (folder / ".done").exists() and (folder / "logdir").exists()
    assert begin_step(folder / ".done", runs="enhance", **step).run  # it is waited for
    queue.write_text("1|COMPLETED|None\n2|COMPLETED|None\n")
    assert begin_step(folder / ".done", runs="enhance --fs 8k", **step).run
    assert not (folder / "logdir").exists()


def test_a_job_may_run_if_slurm_has_it_and_it_has_not_ended(tmp_path, queue):
    assert queued_job(tmp_path) is None
    note_job(tmp_path)
    assert queued_job(tmp_path) is None
    queue.write_text("N/A|PENDING|Priority\n")
    assert queued_job(tmp_path) == "17"
    queue.write_text("")
    assert queued_job(tmp_path) is None


def test_where_there_is_no_slurm_no_job_is_in_its_queue(tmp_path, monkeypatch):
    note_job(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queued_job(tmp_path) is None


class Training:
    """Stage 6 of an experiment, asked for again and again."""

    def __init__(self, folder: Path, data: Path):
        self.folder = folder
        self.step = {"marker": folder / ".trained", "reads": [], "runs": "enh_train"}
        self.step["trained_on"] = [data]
        folder.mkdir()

    def begin(self, **changes) -> tuple[bool, str]:
        return begin_step(**self.step, **changes)

    def save(self) -> None:
        (self.folder / "checkpoint.pth").touch()


@pytest.fixture
def training(tmp_path, data) -> Training:
    """An experiment without a training yet."""
    return Training(tmp_path / "exp", data)


def test_a_training_is_resumed_with_its_data_alone(training, data):
    assert training.begin() == (True, "")
    (data / "wav.scp").write_text("u2 b.wav\n")
    assert training.begin() == (True, "")  # nothing was trained on the others yet
    training.save()
    assert training.begin() == (True, "")
    (data / "wav.scp").write_text("u3 c.wav\n")
    with pytest.raises(UserError, match="was trained on other data: .* --resume false"):
        training.begin()
    (training.folder / ".trained_on").unlink()
    assert training.begin() == (True, "")
    assert not starts_from_scratch(training.folder)


def test_a_finished_training_is_done_until_its_data_change(training, data):
    training.begin()
    training.save()
    end_step(training.folder / ".trained")
    assert not training.begin().run
    (data / "wav.scp").write_text("u3 c.wav\n")
    with pytest.raises(UserError, match="was trained on other data"):
        training.begin()


def test_a_training_from_scratch_is_asked_for_until_it_has_started(training, data):
    training.begin()
    training.save()
    end_step(training.folder / ".trained")
    (data / "wav.scp").write_text("u3 c.wav\n")
    for resume in (False, True):  # killed before it has started
        run, message = training.begin(resume=resume)
        assert run and "starts from scratch, as --resume false asked for" in message
        assert starts_from_scratch(training.folder)
    started_from_scratch(training.folder)
    assert not starts_from_scratch(training.folder)
    assert training.begin() == (True, "")  # on the new data


def test_started_from_scratch_changes_nothing_where_nobody_asked_for_it(training):
    started_from_scratch(training.folder)
    assert list(training.folder.iterdir()) == []


def test_an_experiment_of_older_versions_is_resumed(training, data):
    """They wrote `.trained_on` as the shell's cksum printed it."""
    training.save()
    (training.folder / ".trained_on").write_text("1256428465 18\n")
    assert checksum([data]) == "1256428465 18"
    assert training.begin() == (True, "")

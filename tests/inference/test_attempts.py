"""Several attempts enhance a set together, each what is missing after the others."""

import os
import shutil
from pathlib import Path

import pytest

from espnet2_bspmpnet.data.datadir import read_scp, write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.attempts import join_enhanced, keep_enhanced, split_keys


@pytest.fixture
def scp(tmp_path) -> Path:
    """A list of seven utterances."""
    write_scp(tmp_path / "wav.scp", {f"u{number}": "x.wav" for number in range(7)})
    return tmp_path / "wav.scp"


def enhance(logdir: Path, job: int, utterances=None) -> None:
    """Do a job, or the beginning of it, as enh_inference does."""
    if utterances is None:
        utterances = read_scp(logdir / f"keys.{job}.scp")
    output = logdir / f"output.{job}"
    for utterance in utterances:
        audio = output / "wavs" / "1" / f"{utterance}.wav"
        audio.parent.mkdir(parents=True, exist_ok=True)
        audio.touch()
        for name, value in (("utt2seconds", f"0.{job}"), ("spk1.scp", audio)):
            with (output / name).open("a") as file:
                file.write(f"{utterance} {value}\n")


def keys(logdir: Path, jobs: range) -> list[list[str]]:
    return [list(read_scp(logdir / f"keys.{job}.scp")) for job in jobs]


@pytest.mark.parametrize("num, sizes", [(1, [7]), (3, [2, 2, 3]), (9, [1] * 7)])
def test_a_list_is_split_in_order_into_equal_parts(scp, tmp_path, num, sizes):
    jobs = split_keys(scp, num, tmp_path)
    assert jobs == range(1, 1 + len(sizes))
    parts = keys(tmp_path, jobs)
    assert [len(part) for part in parts] == sizes
    assert sum(parts, []) == sorted(read_scp(scp))


def test_what_all_jobs_have_enhanced_is_joined(scp, tmp_path):
    for job in split_keys(scp, 3, tmp_path / "logdir"):
        enhance(tmp_path / "logdir", job)
    join_enhanced(scp, tmp_path / "logdir", tmp_path)
    assert list(read_scp(tmp_path / "spk1.scp")) == [
        f"u{number}" for number in range(7)
    ]
    assert list(read_scp(tmp_path / "utt2seconds").values()) == 2 * ["0.1"] + 2 * [
        "0.2"
    ] + 3 * ["0.3"]


def test_another_attempt_gets_what_is_missing_under_new_numbers(scp, tmp_path):
    assert split_keys(scp, 2, tmp_path) == range(1, 3)
    enhance(tmp_path, 1)
    enhance(tmp_path, 2, ["u3", "u5"])
    with pytest.raises(UserError, match="2 only in .*wav.scp, .*: u4, u6"):
        join_enhanced(scp, tmp_path, tmp_path)
    assert not (tmp_path / "spk1.scp").exists()
    jobs = split_keys(scp, 2, tmp_path)
    assert jobs == range(3, 5)
    assert keys(tmp_path, jobs) == [["u4"], ["u6"]]
    for job in jobs:
        enhance(tmp_path, job)
    assert split_keys(scp, 2, tmp_path) == range(5, 5)
    join_enhanced(scp, tmp_path, tmp_path)
    files = read_scp(tmp_path / "spk1.scp")
    assert files["u3"] == f"{tmp_path}/output.2/wavs/1/u3.wav"
    assert files["u6"] == f"{tmp_path}/output.4/wavs/1/u6.wav"
    assert read_scp(tmp_path / "utt2seconds")["u6"] == "0.4"


def test_what_a_kill_has_torn_or_someone_removed_is_not_finished(scp, tmp_path):
    split_keys(scp, 1, tmp_path)
    enhance(tmp_path, 1)
    paths, times = tmp_path / "output.1/spk1.scp", tmp_path / "output.1/utt2seconds"
    paths.write_text(paths.read_text()[:-3])
    times.write_text("".join(times.read_text().splitlines(True)[1:]))
    Path(read_scp(paths)["u2"]).unlink()
    (jobs,) = keys(tmp_path, split_keys(scp, 1, tmp_path))
    assert jobs == ["u0", "u2", "u6"]
    shutil.rmtree(tmp_path / "output.1")
    (jobs,) = keys(tmp_path, split_keys(scp, 1, tmp_path))
    assert len(jobs) == 7


def test_a_job_that_is_started_again_resumes_however_often(scp, tmp_path):
    logdir = tmp_path / "logdir"
    split_keys(scp, 1, logdir)
    assert keep_enhanced(logdir / "output.1") == set()
    for done, more in ((0, ["u0", "u1"]), (2, ["u2"]), (3, ["u3", "u4", "u5", "u6"])):
        assert keep_enhanced(logdir / "output.1") == {f"u{n}" for n in range(done)}
        for name in ("spk1.scp", "utt2seconds"):
            (logdir / "output.1" / name).unlink(missing_ok=True)  # as ESPnet does
        enhance(logdir, 1, more)
    join_enhanced(scp, logdir, tmp_path)
    assert read_scp(tmp_path / "spk1.scp").keys() == read_scp(scp).keys()


def test_an_utterance_that_nobody_asked_for_is_named(scp, tmp_path):
    split_keys(scp, 1, tmp_path)
    enhance(tmp_path, 1)
    enhance(tmp_path, 2, ["v"])
    with pytest.raises(UserError, match=r"1 only in .*output.\*, .*: v; add"):
        join_enhanced(scp, tmp_path, tmp_path)


def test_what_is_recognised_need_not_be_again_though_without_a_word(scp, tmp_path):
    assert split_keys(scp, 2, tmp_path, recognise=True) == range(1, 3)
    for job, text in ((1, "u0 äh\nu1 \nu2 tor"), (2, "u4 one two\nu5 three\n")):
        (tmp_path / f"output.{job}/1best_recog").mkdir(parents=True)
        (tmp_path / f"output.{job}/1best_recog/text").write_text(text)
    (rest,) = keys(tmp_path, split_keys(scp, 1, tmp_path, recognise=True))
    assert rest == ["u2", "u3", "u6"]
    assert (tmp_path / "output.1/1best_recog/text").read_text() == "u0 äh\nu1 \n"


def test_jobs_that_are_in_slurms_queue_are_waited_for_or_refused(
    scp, tmp_path, monkeypatch
):
    (tmp_path / "squeue").write_text("#!/bin/sh\necho '1|RUNNING|None'\n")
    (tmp_path / "squeue").chmod(0o755)
    logdir = tmp_path / "logdir"
    split_keys(scp, 1, logdir)
    enhance(logdir, 1)
    (logdir / "output.1/spk1.scp").unlink()
    assert split_keys(scp, 2, logdir) == range(2, 4)
    (logdir / "slurm").mkdir()
    (logdir / "slurm/enh_inference.job").write_text("17\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert split_keys(scp, 3, logdir, wait=True) == range(2, 4)
    assert not (logdir / "keys.4.scp").exists()
    with pytest.raises(UserError, match="job 17, .* wait for its end"):
        split_keys(scp, 3, logdir)


def test_no_jobs_are_refused(scp, tmp_path):
    with pytest.raises(UserError, match="0 jobs asked for"):
        split_keys(scp, 0, tmp_path)

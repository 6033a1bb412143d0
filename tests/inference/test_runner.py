"""Whole runs: nothing stops the rest, nothing is done twice, nothing depends on kills."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.inference.outputs import Outputs
from espnet2_bspmpnet.inference.runner import Selection, enhance_file, enhance_files
from tests.enhancers import Neighbours, tiny
from tests.processes import is_running, wait_until

RATE = 1000
KILLED = """
import sys
from functools import partial
from espnet2_bspmpnet.inference.outputs import Outputs
from espnet2_bspmpnet.inference.runner import Selection, enhance_files
from tests.enhancers import Neighbours

if __name__ == "__main__":
    load = partial(Neighbours, pause=0.03)
    resumed = Selection(skip_existing=True)
    enhance_files([sys.argv[1]], sys.argv[2], load, Outputs(), resumed, nj=2)
"""


@pytest.fixture
def noisy(tmp_path):
    """Forty recordings of up to 2 s, and a long one."""
    return make(tmp_path / "noisy", 40)


def make(folder, count):
    (folder / "s").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        length = 4600 if number == 7 else 500 + 37 * number
        wave = generator.uniform(-1, 1, length)
        soundfile.write(folder / f"{'s/' * (number % 2)}r{number:02d}.wav", wave, RATE)
    return folder


def run(inputs, out, load=Neighbours, outputs=None, nj=1, **selection):
    inputs = inputs if isinstance(inputs, list) else [inputs]
    chosen = Selection(**selection)
    enhance_files(inputs, str(out), load, outputs or Outputs(), chosen, nj)


def contents(folder: Path) -> dict[str, bytes]:
    """Read all visible files below a folder, and temporary ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".enhance" not in path.parts
    }


def manifest(out, name="done.jsonl"):
    text = (out / ".enhance" / name).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_rate_and_number_of_channels_comes_back_as_it_was(tmp_path):
    for rate in (8000, 11025, 16000, 22050, 44100, 48000, 96000):
        wave = 0.1 * np.random.default_rng(rate).standard_normal((rate // 3 + 1, 2))
        soundfile.write(tmp_path / f"{rate}.flac", wave, rate, "PCM_24")
    (tmp_path / "noisy").mkdir()
    noisy = tmp_path / "noisy"
    for path in tmp_path.glob("*.flac"):
        path.rename(noisy / path.name)
    soundfile.write(noisy / "six.wav", np.full((4000, 6), 0.1), 16000)
    soundfile.write(noisy / "one.wav", [0.5], 16000)
    soundfile.write(noisy / "zeros.wav", np.zeros((9000, 2)), 16000, "FLOAT")
    soundfile.write(noisy / "dc.wav", np.full(9000, 0.5), 16000)
    square = np.sign(np.sin(np.arange(9000) / 8))
    soundfile.write(noisy / "square.wav", square, 16000)
    soundfile.write(noisy / "long.wav", np.resize(square, 9 * 16000) / 9, 16000)
    run(noisy, tmp_path / "out", tiny)
    assert contents(noisy).keys() == contents(tmp_path / "out").keys()
    for path in noisy.iterdir():
        before, after = (
            soundfile.info(path),
            soundfile.info(tmp_path / "out" / path.name),
        )
        for field in ("frames", "samplerate", "channels", "format", "subtype"):
            assert getattr(before, field) == getattr(after, field), path
        wave, _ = soundfile.read(tmp_path / "out" / path.name)
        assert np.isfinite(wave).all() and np.abs(wave).max() <= 1
        assert np.any(wave) == (path.name != "zeros.wav"), path


def spoil(noisy):
    """Add one recording for each way to be bad; say which word the reason has."""
    wave, _ = soundfile.read(noisy / "r00.wav")
    soundfile.write(noisy / "header.wav", wave[:0], RATE)
    soundfile.write(noisy / "nan.wav", np.append(wave, np.nan), RATE, "FLOAT")
    soundfile.write(noisy / "inf.wav", np.append(wave, np.inf), RATE, "DOUBLE")
    (noisy / "cut.wav").write_bytes((noisy / "r00.wav").read_bytes()[:700])
    soundfile.write(noisy / "whole.flac", wave, RATE)
    (noisy / "cut.flac").write_bytes((noisy / "whole.flac").read_bytes()[:600])
    (noisy / "whole.flac").unlink()
    (noisy / "text.wav").write_text("no audio")
    (noisy / "empty.wav").touch()
    (noisy / "nowhere.wav").symlink_to("gone")
    (noisy / "circle.wav").symlink_to("circle.wav")
    (noisy / "up").symlink_to(noisy)
    return {
        "header.wav": "holds no samples",
        "nan.wav": "NaN or infinite samples",
        "inf.wav": "NaN or infinite samples",
        "cut.wav": "truncated or damaged",
        "cut.flac": "truncated or damaged",
        "text.wav": "cannot be read as audio",
        "empty.wav": "empty (0 bytes)",
        "nowhere.wav": "no such file",
        "circle.wav": "cannot be opened (Too many levels",
        "up": "a link to a folder that it is in",
    }


@pytest.mark.parametrize("nj", [1, 2])
def test_bad_recordings_are_reported_and_the_others_done(tmp_path, noisy, capsys, nj):
    expected = spoil(noisy)
    out = tmp_path / "out"
    reason = "10 of .* recordings failed, .*failures.tsv; repair"
    with pytest.raises(UserError, match=reason):
        run(noisy, out, nj=nj)
    lines = (out / "failures.tsv").read_text().splitlines()
    failed = dict(line.split("\t") for line in lines[1:])
    assert failed.keys() == {str(noisy / name) for name in expected}
    shown = capsys.readouterr().err
    for name, words in expected.items():
        assert words in failed[str(noisy / name)]
        assert f"{noisy / name}: {failed[str(noisy / name)]}\n" in shown
    assert "40 of 50 recordings enhanced: " in shown and ", 10 failed\n" in shown
    names = {f"{'s/' * (n % 2)}r{n:02d}.wav" for n in range(40)}
    assert contents(out).keys() == names | {"failures.tsv"}
    assert {record["input"] for record in manifest(out)} == {
        str(noisy / name) for name in names
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_must_not_be_read_is_a_failure(tmp_path, noisy):
    (noisy / "r00.wav").chmod(0)
    (noisy / "s").chmod(0)
    try:
        with pytest.raises(UserError, match="2 of .* recordings failed"):
            run(noisy, tmp_path / "out")
    finally:
        (noisy / "s").chmod(0o700)
    text = (tmp_path / "out" / "failures.tsv").read_text()
    assert "r00.wav\tno permission to read it" in text
    assert "s\tcannot be looked into (Permission denied)" in text


def test_names_hold_anything_and_the_second_of_one_name_is_a_failure(tmp_path):
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    for name in ("ü.wav", "a\nb.wav", "c\td.wav", os.fsdecode(b"\xff.wav"), "ü.flac"):
        soundfile.write(os.fsencode(noisy / name), np.full(500, 0.1), RATE)
    with pytest.raises(UserError, match="1 of .* recordings failed"):
        run(noisy, tmp_path / "out", outputs=Outputs("wav"))
    assert contents(tmp_path / "out").keys() == {
        *("ü.wav", "a\nb.wav", "c\td.wav", os.fsdecode(b"\xff.wav"), "failures.tsv")
    }
    text = (tmp_path / "out" / "failures.tsv").read_text()
    assert f"{noisy}/ü.wav\tits output ü.wav would overwrite that of" in text


def test_only_what_failed_is_tried_again(tmp_path, noisy, capsys):
    run(noisy, tmp_path / "whole")
    good = (noisy / "r04.wav").read_bytes()
    (noisy / "r04.wav").write_bytes(b"")
    (noisy / "s/r09.wav").rename(tmp_path / "kept.wav")
    (noisy / "s/r09.wav").touch()
    out = tmp_path / "out"
    with pytest.raises(UserError, match="2 of .* recordings failed"):
        run(noisy, out)
    (noisy / "r04.wav").write_bytes(good)
    (out / "r00.wav").unlink()
    with pytest.raises(UserError, match="1 of .* recordings failed"):
        run(noisy, out, retry=True)
    assert "1 of 40 recordings enhanced" in capsys.readouterr().err
    assert (out / "failures.tsv").read_text().count("\n") == 2
    assert not (out / "r00.wav").exists()
    os.replace(tmp_path / "kept.wav", noisy / "s/r09.wav")
    run(noisy, out, retry=True)
    run(noisy, out, skip_existing=True)
    assert contents(out).keys() == contents(tmp_path / "whole").keys()
    assert {r["output"] for r in manifest(out)} == {str(out / n) for n in contents(out)}


def test_without_failures_there_is_nothing_to_retry_and_no_model_is_loaded(
    tmp_path, noisy, capsys
):
    run(noisy, tmp_path / "out")
    before = contents(tmp_path / "out")
    run(noisy, tmp_path / "out", load=lambda: pytest.fail("loaded"), retry=True)
    run(noisy, tmp_path / "out", load=lambda: pytest.fail("loaded"), skip_existing=True)
    assert contents(tmp_path / "out") == before
    assert capsys.readouterr().err.count("\n0 of 40 recordings enhanced") == 2


def test_shards_part_the_work_and_give_what_one_run_gives(tmp_path, noisy):
    run(noisy, tmp_path / "whole")
    (noisy / "bad.wav").touch()
    out, failed = tmp_path / "out", 0
    for k in (1, 2, 3):
        try:
            run(noisy, out, shard=(k, 3))
        except UserError as error:
            failed += 1
            assert f"{out}/failures.{k}-3.tsv" in str(error)
    assert failed == 1
    done = [manifest(out, f"done.{k}-3.jsonl") for k in (1, 2, 3)]
    assert min(map(len, done)) > 0 and sum(map(len, done)) == 40
    (noisy / "bad.wav").unlink()
    run(noisy, tmp_path / "again")
    run(noisy, out, retry=True)
    assert contents(out).keys() == contents(tmp_path / "again").keys()
    run(noisy, out)
    assert contents(out) == contents(tmp_path / "again")
    assert not list((out / ".enhance").glob("done.*-*"))


def test_the_manifest_says_what_each_output_is_of(tmp_path, noisy):
    wave, _ = soundfile.read(noisy / "r02.wav")
    out = tmp_path / "out"
    run([noisy / "r02.wav"], out, outputs=Outputs(normalize=True))
    (record,) = manifest(out)
    assert record.pop("seconds") >= 0 and record.pop("gain_db") > 0
    assert record == {
        "input": str(noisy / "r02.wav"),
        "output": str(out / "r02.wav"),
        "audio": len(wave) / RATE,
    }


def test_outputs_that_were_not_recorded_before_a_kill_are(tmp_path, noisy):
    out = tmp_path / "out"
    run(noisy, out)
    path = out / ".enhance/done.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20]) + lines[20][:9])
    run(noisy, out, skip_existing=True)
    assert {record["output"] for record in manifest(out)} == {
        str(out / name) for name in contents(noisy)
    }
    assert len(manifest(out)) == 40


def test_a_folder_killed_at_any_moment_and_resumed_is_as_one_left_alone(
    tmp_path, noisy, repository
):
    run(noisy, tmp_path / "whole")
    out = tmp_path / "out"
    (tmp_path / "run.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "run.py"), str(noisy), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    chance = random.Random(0)
    for wanted in (0, 10, 20, 30):
        process = subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            stderr=subprocess.PIPE,
        )
        while len(list(out.rglob("*.wav"))) < wanted and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert len(list(out.rglob("*.wav"))) < 40
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.glob(".enhance/parts/*"))


def test_a_killed_process_costs_its_chunk_alone(tmp_path, noisy):
    out = tmp_path / "out"
    load = partial(Neighbours, deadly=0.5 + 0.037 * 20)
    with pytest.raises(UserError, match="2 of .* recordings failed"):
        run(noisy, out, load, nj=2)
    text = (out / "failures.tsv").read_text()
    assert text.count("its process was killed by signal 9") == 2
    assert "r20.wav" in text and len(contents(out)) == 38 + 1
    run(noisy, out, retry=True)
    run(noisy, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


class Full(Outputs):
    """The disk is full when r10 is written."""

    def write(self, task, recording, blocks):
        if task.source.endswith("r10.wav"):
            error = MachineError("the disk is full")
            raise error from OSError(errno.ENOSPC, "")
        return super().write(task, recording, blocks)


@pytest.mark.parametrize("nj", [1, 2])
def test_a_full_disk_ends_the_run_at_once_and_cleanly(tmp_path, noisy, capsys, nj):
    out = tmp_path / "out"
    with pytest.raises(MachineError, match="the disk is full"):
        run(noisy, out, partial(Neighbours, pause=0.05), Full(), nj=nj)
    assert (out / "failures.tsv").read_text().endswith("r10.wav\tthe disk is full\n")
    assert 0 < len(list(out.rglob("*.wav"))) < 39
    assert ", 1 failed, " in capsys.readouterr().err
    run(noisy, out, skip_existing=True)
    run(noisy, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_ctrl_c_ends_a_run_with_a_summary_and_nothing_half_written(
    tmp_path, noisy, capsys
):
    class Interrupted(Neighbours):
        def batch(self, waves, rate):
            if waves[0].shape[1] == 500 + 37 * 22:
                raise KeyboardInterrupt
            return super().batch(waves, rate)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(noisy, out, Interrupted)
    count = len(contents(out))
    assert f"{count} of 40 recordings enhanced: " in capsys.readouterr().err
    assert 0 < count < 40 and not list(out.glob(".enhance/parts/*"))


def test_one_file_goes_where_it_is_said(tmp_path, noisy, capsys):
    source = str(noisy / "s/r07.wav")
    enhance_file(source, str(tmp_path / "deep/one.flac"), Neighbours, Outputs())
    info = soundfile.info(tmp_path / "deep/one.flac")
    assert (info.frames, info.format) == (4600, "FLAC")
    assert "1 of 1 recordings enhanced: 4.6 s of audio" in capsys.readouterr().err
    assert os.listdir(tmp_path / "deep") == ["one.flac"]


@pytest.mark.parametrize(
    "source, output, said",
    [
        ("r00.wav", "r00.wav", "r00.wav: its output would overwrite it; choose"),
        ("empty.wav", "out.wav", "empty.wav: the file is empty"),
        ("nan.wav", "out.wav", "nan.wav: holds NaN or infinite samples"),
        ("r00.wav", "out.m4a", "r00.wav: .*out.m4a: files of this kind cannot be"),
        ("r00.wav", "s", "r00.wav: .*s: this is a folder; name a file"),
        ("gone.wav", "out.wav", "gone.wav: no such file; correct its path"),
    ],
)
def test_one_bad_file_is_an_error_that_names_it(noisy, source, output, said):
    spoil(noisy)
    before = contents(noisy)
    with pytest.raises(UserError, match=said):
        enhance_file(str(noisy / source), str(noisy / output), Neighbours, Outputs())
    assert contents(noisy) == before


def test_processes_do_not_outlive_a_killed_run(tmp_path, noisy, repository):
    (tmp_path / "run.py").write_text(KILLED.replace("0.03", "5.0"))
    command = [
        sys.executable,
        str(tmp_path / "run.py"),
        str(noisy),
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(repository)}
    )

    def children():
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)],
            capture_output=True,
            text=True,
        )
        return list(map(int, found.stdout.split()))

    wait_until(lambda: len(children()) >= 2)
    workers = children()
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_running, workers)))

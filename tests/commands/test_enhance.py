"""`bspmpnet enhance`: from words to outputs, exit statuses and a summary."""

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet2_bspmpnet import cli
from espnet2_bspmpnet.commands import enhance
from espnet2_bspmpnet.enh.options import PCS_OUTPUTS
from espnet2_bspmpnet.inference import runner
from espnet2_bspmpnet.inference.enhancer import PRECISIONS, Enhancer
from espnet2_bspmpnet.inference.high_band import HIGH_BANDS
from tests.enhancers import Neighbours
from tests.networks import TINY, tiny_separator

RATE = 1000
# What is started in the background of a script ignores Ctrl-C, a terminal's does not.
INTERRUPTED = """
import signal
import sys
from espnet2_bspmpnet import cli
from espnet2_bspmpnet.inference import runner
from tests.enhancers import slow

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runner.load_enhancer = slow
    sys.exit(cli.main(["enhance", "--model", "m", *sys.argv[1:]]))
"""
WITHOUT_ESPNET = """
import sys
from espnet2_bspmpnet import cli

status = cli.main(sys.argv[1:])
assert "espnet2.tasks" not in sys.modules
sys.exit(status)
"""


@pytest.fixture
def noisy(tmp_path, monkeypatch):
    """Recordings in the folder noisy, which is beside the current one's out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    generator = np.random.default_rng(0)
    for number in range(20):
        name = f"noisy/{'s/' * (number % 2)}r{number:02d}.wav"
        os.makedirs(os.path.dirname(name), exist_ok=True)
        wave = generator.uniform(-1, 1, 500 + 37 * number)
        soundfile.write(name, wave, RATE)
    return tmp_path / "noisy"


@pytest.fixture
def loaded(monkeypatch):
    """What models were loaded with which options; none is in truth."""
    calls = []

    def load(model, options):
        calls.append((model, options))
        return Neighbours()

    monkeypatch.setattr(runner, "load_enhancer", load)
    return calls


def run(words, *more):
    return cli.main(["enhance", *words.split(), *more])


def test_a_folder_is_enhanced_with_what_was_asked_for(noisy, loaded, capsys):
    words = (
        "noisy --model m --output-dir out --nj 1 --device cpu --precision bfloat16"
        " --pcs-output boosted --high_band drop --strength 0.5 --attenuation-limit 12"
        " --window 20 --normalize --format flac --bits 24"
    )
    assert run(words) == 0
    assert loaded == [
        (
            "m",
            {
                "device": "cpu",
                "precision": "bfloat16",
                "pcs_output": "boosted",
                "strength": 0.5,
                "attenuation_limit": 12.0,
                "high_band": "drop",
                "window": 20,
            },
        )
    ]
    for number in range(20):
        path = f"out/{'s/' * (number % 2)}r{number:02d}.flac"
        wave, _ = soundfile.read(path)
        assert soundfile.info(path).subtype == "PCM_24"
        assert np.abs(wave).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)
    assert "20 of 20 recordings enhanced: " in capsys.readouterr().err


def test_a_list_gives_names_and_bad_recordings_give_status_one(noisy, loaded, capsys):
    lines = ["one noisy/r00.wav", "s/two noisy/gone.wav", "../three noisy/r02.wav"]
    (noisy / "wav.scp").write_text("\n".join(lines))
    assert run("noisy/wav.scp --model m --output_dir out --nj 1") == 1
    assert sorted(os.listdir("out")) == [".enhance", "failures.tsv", "one.wav"]
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith("1 of 3 recordings enhanced: ")
    assert said[-2].endswith(", 2 failed")
    assert said[-1].startswith(
        "bspmpnet enhance: error: 2 of 3 recordings failed, for the reasons"
        " in out/failures.tsv; "
    )
    os.rename("noisy/r00.wav", "noisy/gone.wav")
    assert run("noisy/wav.scp --model m --output_dir out --nj 1 --retry") == 1
    assert capsys.readouterr().err.count("1 of 3 recordings enhanced") == 1


def test_tasks_of_a_slurm_array_have_shares(noisy, loaded, monkeypatch, capsys):
    for name, value in dict(MIN=0, MAX=1, COUNT=2, STEP=1).items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    for task in "01":
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        assert run("noisy --model m --output_dir out --nj 1") == 0
    said = capsys.readouterr().err
    assert "share 1 of 2" in said and said.count("10 of 10 recordings enhanced") == 2
    assert run("noisy --model m --output_dir out --nj 1 --shard 1/1") == 0
    assert "20 of 20 recordings enhanced" in capsys.readouterr().err
    assert run("noisy/r00.wav --model m -o one.wav") == 0


@pytest.mark.parametrize(
    "words, said",
    [
        ("noisy --model m", "say where to: --output_dir OUT, or -o FILE for one file"),
        ("noisy --model m -o a.wav", "--output is for one file; give --output_dir"),
        ("a.wav b.wav --model m -o c.wav", "--output is for one file; give --output_d"),
        ("a.wav --model m -o c.wav --output_dir out", "not both"),
        ("- a.wav --model m -o c.wav", "the standard input (-) is enhanced alone"),
        ("- --model m --output_dir out", "the standard input (-) is enhanced alone"),
        ("--model m --output_dir out", "required: INPUT"),
        ("a.wav --model m -o b.wav --retry", "go with --output_dir"),
        ("noisy --model m --output_dir out --shard 3/2", "'3/2' is no part; write"),
        ("noisy --model m --output_dir out --nj 0", "'0' is no whole number of 1 or"),
        ("noisy --model m --output_dir out --format m4a", "invalid choice: 'm4a'"),
    ],
)
def test_wrong_words_end_with_status_two_and_nothing_is_made(
    noisy, loaded, capsys, words, said
):
    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code == 2 and said in capsys.readouterr().err
    assert loaded == [] and os.listdir(".") == ["noisy"]


@pytest.mark.parametrize("words", ["-", "noisy/r00.wav -o -"])
def test_sound_is_not_written_to_a_terminal(noisy, loaded, monkeypatch, capsys, words):
    monkeypatch.setattr(enhance, "_is_terminal", lambda: True)
    with pytest.raises(SystemExit):
        run(f"{words} --model m")
    assert "sound is not for the terminal; give -o FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        ("nowhere --model m --output_dir out", "nowhere: no such file or folder; corr"),
        (
            "noisy --model m --output_dir noisy",
            "recordings cannot be enhanced in place",
        ),
        ("noisy/r00.wav --model m -o noisy/r00.wav", "its output would overwrite it"),
        (
            "noisy/none.wav --model m -o out.wav",
            "noisy/none.wav: no such file; correct",
        ),
    ],
)
def test_a_bad_input_ends_with_one_line_and_status_one(
    noisy, loaded, capsys, words, said
):
    before = (noisy / "r00.wav").read_bytes()
    assert run(words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("bspmpnet enhance: error: ") and said in last
    assert (noisy / "r00.wav").read_bytes() == before


def test_its_options_are_the_enhancers():
    said = []
    enhance.add_commands(lambda function: lambda *names, **kw: said.append((names, kw)))
    choices = {names[-1][2:]: kw.get("choices") for names, kw in said}
    assert set(choices["precision"]) == set(PRECISIONS)
    assert set(choices["pcs_output"]) == set(PCS_OUTPUTS)
    assert set(choices["high_band"]) == set(HIGH_BANDS)


def test_processes_are_as_many_as_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr(enhance, "available_cores", lambda: 10**6)
    assert 1 <= enhance._default_nj("cpu") < 10**5
    monkeypatch.setattr(enhance, "available_cores", lambda: 1)
    assert enhance._default_nj("cpu") == enhance._default_nj("cuda:1") == 1


def test_standard_input_goes_to_standard_output_without_espnet(tmp_path, repository):
    """A model of an experiment, as it is; the same in Python."""
    expdir = tmp_path / "exp"
    expdir.mkdir()
    config = {
        "encoder": "same",
        "decoder": "same",
        "separator": "bsp_mpnet",
        "separator_conf": TINY,
        "best_model_criterion": [["valid", "loss", "min"]],
    }
    (expdir / "config.yaml").write_text(yaml.safe_dump(config))
    state = {f"separator.{n}": t for n, t in tiny_separator().state_dict().items()}
    torch.save(state, expdir / "valid.loss.best.pth")
    wave = 0.1 * np.random.default_rng(0).standard_normal((4410, 2)).astype(np.float32)
    given = io.BytesIO()
    soundfile.write(given, wave, 44100, format="WAV", subtype="FLOAT")
    command = [sys.executable, "-c", WITHOUT_ESPNET, "enhance", "-", "--model"]
    done = subprocess.run(
        [*command, str(expdir)],
        input=given.getvalue(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert done.returncode == 0, done.stderr
    enhanced, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    expected = Enhancer.from_pretrained(expdir)(wave.T, 44100).T
    assert rate == 44100 and np.allclose(enhanced, expected, atol=1e-6)
    assert b"1 of 1 recordings enhanced: 0.1 s of audio" in done.stderr


@pytest.mark.parametrize("nj", [1, 2])
def test_ctrl_c_ends_with_status_130_a_summary_and_whole_outputs(
    noisy, tmp_path, repository, nj
):
    out = tmp_path / "out"
    (tmp_path / "run.py").write_text(INTERRUPTED)
    command = [sys.executable, str(tmp_path / "run.py"), str(noisy), "--output_dir"]
    process = subprocess.Popen(
        [*command, str(out), "--nj", str(nj)],
        env={**os.environ, "PYTHONPATH": str(repository)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(out.rglob("*.wav"))) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does, to all of them
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert " of 20 recordings enhanced: " in said and " still to do: run it " in said
    assert "interrupted; run it again" in said
    for path in out.rglob("*.wav"):
        assert soundfile.info(path).frames >= 500
    assert not list(out.glob(".enhance/parts/*"))


def test_a_page_shows_the_first_recordings_before_and_after(noisy, loaded, capsys):
    assert run("noisy --model m --output_dir out --nj 1 --page") == 0
    page = capsys.readouterr().out.strip()
    assert page == "out/page/index.html"
    text = (noisy.parent / page).read_text()
    assert text.count("</h2>") == 10 and text.count("<audio") == 20
    assert "r00.wav" in text


def test_a_page_goes_with_an_output_folder(noisy, loaded, capsys):
    with pytest.raises(SystemExit):
        run("noisy/r00.wav --model m -o clean.wav --page")
    assert "--page shows what is in an output folder" in capsys.readouterr().err

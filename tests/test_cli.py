"""`bspmpnet` walks data from folders to RESULTS.md, and its errors help."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data.datadir import DataDir, read_scp, write_scp
from tests.processes import completed

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
COMMAND = [sys.executable, "-m", "espnet2_bspmpnet.cli"]
COMMANDS = (
    "mini_corpus",
    "pairs_corpus",
    "check_data",
    "speed_perturb",
    "format_data",
    "filter_data",
    "collect_stats",
    "check_config",
    "show_config",
    "split_keys",
    "join_enhanced",
    "begin_step",
    "end_step",
    "score",
    "check_recogniser",
    "score_text",
    "results",
    "upload_model",
    "download_model",
    "report",
    "enhance",
)


def bspmpnet(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    return completed(COMMAND, *words, cwd=cwd, env=ENVIRONMENT)


def well(*words: object, cwd: Path) -> str:
    done = bspmpnet(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make(folder: Path, count: int = 4, rate: int = 8000, seconds: float = 1.0) -> None:
    """Make folder/data with pairs of noise, one a tenth of a second longer each."""
    generator = np.random.default_rng(0)
    datadir = DataDir(folder / "data", {}, {}, {})
    (folder / "audio").mkdir()
    for number in range(count):
        length = int(rate * (seconds + 0.1 * number))
        clean = 0.1 * generator.standard_normal(length)
        noisy = clean + 0.05 * generator.standard_normal(length)
        for entries, part, wave in (
            (datadir.wav, "noisy", noisy),
            (datadir.spk1, "clean", clean),
        ):
            entries[f"u{number}"] = str(folder / "audio" / f"u{number}_{part}.wav")
            soundfile.write(entries[f"u{number}"], wave, rate)
        datadir.utt2spk[f"u{number}"] = "p1"
    datadir.write()


def test_stages_follow_each_other_from_data_to_results(tmp_path):
    make(tmp_path)
    assert "4 utterances, all well" in well("check_data", "data", cwd=tmp_path)
    paths = ("--src", "data", "--dst", "sp")
    well("speed_perturb", *paths, "--factors", "0.9 1.0", "--nj", 1, cwd=tmp_path)
    paths = ("--src", "sp", "--dst", "org")
    words = ("--fs", "16k", "--audio_format", "flac", "--nj", 1)
    well("format_data", *paths, *words, cwd=tmp_path)
    paths = ("--src", "org", "--dst", "dump")
    limits = ("--min_wav_duration", 1.05, "--max_wav_duration", 1.25)
    done = bspmpnet("filter_data", *paths, *limits, cwd=tmp_path)
    assert "4 of 8 utterances dropped" in done.stderr
    kept = list(DataDir.read(tmp_path / "dump").wav)
    assert kept == ["sp0.9-u0", "sp0.9-u1", "u1", "u2"]
    sets = ("--train", "dump", "--valid", "dump")
    well("collect_stats", *sets, "--output_dir", "stats", cwd=tmp_path)
    assert list(read_scp(tmp_path / "stats/valid/speech_mix_shape")) == kept

    lists = ("--scp", "dump/wav.scp", "--logdir", "logs")
    assert well("split_keys", *lists, "--num", 9, cwd=tmp_path) == "1:4\n"
    for number, (name, path) in enumerate(read_scp(tmp_path / "dump/wav.scp").items()):
        write_scp(tmp_path / f"logs/output.{number + 1}/spk1.scp", {name: path})
        write_scp(tmp_path / f"logs/output.{number + 1}/utt2seconds", {name: 0.5})
    assert well("split_keys", *lists, "--num", 9, cwd=tmp_path) == ""
    well("join_enhanced", *lists, "--output_dir", "enhanced", cwd=tmp_path)

    files = ("--ref", "dump/spk1.scp", "--noisy", "dump/wav.scp", "--output", "scores")
    systems = ("--inf", "copy=enhanced/spk1.scp", "--metrics", "SI_SNR,STOI", "--nj", 1)
    printed = well("score", *files, *systems, cwd=tmp_path)
    assert "\n|dataset|SI_SNR|STOI|\n|---|---|---|\n|noisy|" in printed
    assert printed == (tmp_path / "scores" / "RESULTS.md").read_text()
    rows = ("noisy_tt=scores/noisy", "enhanced_tt=scores/copy")
    words = ("--expdir", "exp/enh_x/", "--output", "exp/enh_x/RESULTS.md")
    printed = well("results", *words, *rows, cwd=tmp_path)
    results = (tmp_path / "exp/enh_x/RESULTS.md").read_text()
    assert "\n## enh_x\n" in results
    (means,) = re.findall(
        r"\|enhanced_tt\|[*]*(\d+\.\d\d)[*]*\|[*]*(\d+\.\d\d)", results
    )
    assert re.search(r"\nenhanced_tt +{} +{}\n".format(*reversed(means)), printed)
    assert printed.splitlines()[-1].endswith(": exp/enh_x/RESULTS.md")
    printed = well("results", "--output", "R.md", "one=scores", "scores", cwd=tmp_path)
    for name in ("one/noisy", "one/copy", "copy"):
        assert f"\n{name} " in printed


def test_a_config_is_shown_with_what_it_inherits_on_screen_or_in_a_file(tmp_path):
    (tmp_path / "base.yaml").write_text("optim_conf: {lr: 4.0e-4}\nmax_epoch: 100\n")
    (tmp_path / "own.yaml").write_text("base: base.yaml\nmax_epoch: 2\n")
    shown = well("show_config", "own.yaml", cwd=tmp_path)
    assert shown == "optim_conf:\n    lr: 0.0004\nmax_epoch: 2\n"
    assert well("show_config", "own.yaml", "--output", "a/b.yaml", cwd=tmp_path) == ""
    assert (tmp_path / "a/b.yaml").read_text() == shown


def test_scores_of_one_system_lie_in_the_output_itself(tmp_path):
    make(tmp_path, rate=16000)
    files = ("--ref", "data/spk1.scp", "--inf", "data/wav.scp", "--output", "scores")
    well("score", *files, "--metrics", "SI_SNR", "--nj", 1, cwd=tmp_path)
    assert (tmp_path / "scores" / "utterances.tsv").exists()
    both = ("--reference", "both", "--natural", "enhanced", "--metrics", "SI_SNR,STOI")
    printed = well("score", *files, *both, "--nj", 1, cwd=tmp_path)
    assert (tmp_path / "scores/reference_pcs/utterances.tsv").exists()
    assert "### Reference: PCS of the clean speech" in printed
    assert "- enhanced: PCS was applied to it first" in printed
    done = bspmpnet("score", *files, "--inf", "x=data/wav.scp", cwd=tmp_path)
    assert done.returncode == 1
    assert "give each of several systems a name" in done.stderr


def test_hyphens_serve_as_well_as_underscores(tmp_path):
    make(tmp_path)
    words = ("--src=data", "--dst", "dump", "--audio-format=wav", "--nj", 1)
    well("format-data", *words, cwd=tmp_path)
    assert (tmp_path / "dump" / "data" / "wav" / "u0.wav").exists()


@pytest.mark.parametrize(
    "words, now",
    [
        ("--protocol paper", "--reference pcs"),
        ("--reference standard", "--reference clean"),
        ("--protocol=both", "--reference both"),
    ],
)
def test_references_are_taken_by_their_old_names_with_a_notice(tmp_path, words, now):
    make(tmp_path, rate=16000)
    files = ("--ref", "data/spk1.scp", "--inf", "data/wav.scp", "--output", "scores")
    options = (*words.split(), "--metrics", "SI_SNR", "--nj", 1)
    done = bspmpnet("score", *files, *options, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.count(f" is now {now}\n") == 1
    assert ("### Reference: PCS" in done.stdout) == (now != "--reference clean")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_and_refuses_what_it_does_not_know(command, tmp_path):
    shown = well(command, "--help", cwd=tmp_path)
    assert shown.startswith(f"usage: bspmpnet {command}")
    done = bspmpnet(command, "--no_such_option", 1, cwd=tmp_path)
    assert done.returncode == 2 and "error:" in done.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        ("check_data data --bogus 1", "unrecognized arguments: --bogus"),
        ("check_data data --need", "unrecognized arguments: --need"),
        ("chek_data data", "invalid choice: 'chek_data'"),
        ("", "required: COMMAND"),
        ("check_data data --need_reference maybe", "'maybe' is neither true nor false"),
        ("format_data --src a --dst b --fs 16q", "'16q' is no rate; write 16000"),
        ("format_data --src a --dst b --fs 0", "'0' is no rate"),
        ("format_data --src a --dst b --nj 0", "'0' is no whole number of 1 or more"),
        ("format_data --src a --dst b --part 0/2", "'0/2' is no part; write 1/4"),
        ("score --ref a --inf b --output c --part 3/2", "'3/2' is no part; write 1/4"),
        ("format_data --src a --dst", "--dst: expected one argument"),
        ("speed_perturb --src a --dst b --factors x", "'x' is no list of numbers"),
    ],
)
def test_a_wrong_command_line_ends_with_status_two(tmp_path, words, said):
    done = bspmpnet(*words.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        ("check_data nowhere", "nowhere: no such data directory; prepare"),
        ("check_data data broken", "broken: an empty data directory"),
        ("format_data --src data --dst file/x", "part of this path is a file"),
        ("format_data --src data --dst data", "source and target are the same"),
        (
            "filter_data --src data --dst x --min_wav_duration 0 --max_wav_duration 9",
            "data/utt2num_samples: no such file; run the step that makes it first",
        ),
        ("score --ref nowhere --inf data/wav.scp --output x", "no such folder"),
        ("score --ref audio --inf data/wav.scp --output x", "ids differ: 8 only in"),
        ("results --expdir e --output r.md tt=data", "no such file; score first"),
        ("score --ref audio --output x", "nothing to score; name a folder"),
        (
            "join_enhanced --scp data/wav.scp --logdir x --output_dir x",
            "4 only in data/wav.scp, not in x/output.*: u0, u1",
        ),
        ("check_recogniser data", "data/config.yaml: no such file; name a trained"),
        (
            "score_text --ref nowhere --output x --name n --asr a data/wav.scp",
            "nowhere: no such file; word error rates need transcripts",
        ),
        (
            "upload_model --packed x.zip --hf_repo x --folder x --recipe x/enh1",
            "--hf_repo 'x': whose is it? Write owner/name",
        ),
        ("check_config nowhere.yaml", "nowhere.yaml: no such configuration file"),
        ("show_config nowhere.yaml", "nowhere.yaml: no such configuration file"),
        ("show_config x.yaml --output file/x", "part of this path is a file"),
    ],
)
def test_bad_input_ends_with_one_message_and_status_one(tmp_path, words, said):
    make(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "x.yaml").write_text("max_epoch: 1")
    done = bspmpnet(*words.split(), cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"bspmpnet {words.split()[0]}: error: ") and said in last
    assert "Traceback" not in done.stderr


def test_a_killed_command_run_again_gives_what_an_undisturbed_one_gives(tmp_path):
    make(tmp_path, count=40, seconds=2.0)
    words = ("--src", "data", "--fs", "48k", "--nj", 2)
    well("format_data", *words, "--dst", "whole", cwd=tmp_path)
    killed = subprocess.Popen(
        [*COMMAND, "format_data", *map(str, words), "--dst", "killed"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )
    audio = tmp_path / "killed" / "data" / "wav"
    while len(list(audio.glob("*.wav"))) < 5:
        assert killed.poll() is None, "it was too quick to be killed"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "wav.scp").exists()
    well("format_data", *words, "--dst", "killed", cwd=tmp_path)
    whole, again = (contents(tmp_path / name) for name in ("whole", "killed"))
    assert whole == again


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder, with the folder's own path left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(
            os.fsencode(folder), b""
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_help_loads_nothing_heavy(tmp_path):
    script = (
        "import sys; from espnet2_bspmpnet import cli, jobs\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(' '.join({'numpy', 'torch', 'espnet2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.stderr == "\n"

"""The recipe's own scripts, run on small data as a user runs them."""

import os
import re
import shutil
import signal
import subprocess
import time
from zipfile import ZipFile

import pytest
import yaml

from tests.networks import TINY
from tests.recipes.conftest import CONFIG, data_options


def test_every_script_parses(repository):
    scripts = [*repository.glob("local/*.sh"), *repository.glob("egs2/**/*.sh")]
    assert len(scripts) >= 7
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)


def test_scripts_pass_shellcheck(repository):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*repository.glob("local/*.sh"), *repository.glob("egs2/**/*.sh")]
    checked = subprocess.run(
        ["shellcheck", "-x", "-P", repository, *scripts],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert checked.stdout == ""


@pytest.mark.parametrize(
    "options, message",
    [
        (["--stop_stge", "4"], "unknown option '--stop_stge'"),
        (["4"], "unknown option '4'"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "--stop_stage", "4"], "--nj needs a value"),
        (["--nj=two"], "--nj 'two': give a whole number"),
        (["--stage", "08"], "--stage '08': give a whole number"),
        (["--max_wav_duration", "long"], "--max_wav_duration 'long': give a number"),
        (["--skip_train", "yes"], "--skip_train 'yes': give true or false"),
        (["--stage", "5", "--stop_stage", "4"], "give a range within 1 ... 13"),
        (["--stop_stage", "14"], "give a range within 1 ... 13"),
        (["--backend", "grid"], "--backend grid: give local or slurm"),
        (["--num_nodes", "2"], "--num_nodes 2: cmd.sh's jobs run on one machine each"),
        (["--scoring_reference", "x"], "'x': give clean, pcs or both"),
        (["--spk_num", "2"], "--spk_num 2: only 1 is supported"),
        (["--enh_config", "conf/none.yaml"], "conf/none.yaml is missing"),
        (["--train_set", ""], "--train_set is required"),
        (["--python="], "--python is required"),
        (
            ["--enh_args", "--a b' c"],
            "--enh_args --a b' c: a quote in it is not closed",
        ),
        (
            ["--local_data_opts", '"'],
            '--local_data_opts ": a quote in it is not closed',
        ),
    ],
)
def test_a_wrong_option_stops_before_the_first_stage(recipe, options, message):
    status, printed = recipe.run(*options)
    assert status == 2
    assert message in printed.splitlines()[-1]
    assert "stage 1: " not in printed


def test_a_typo_is_answered_with_the_list_of_options(recipe):
    _, printed = recipe.run("--enh_cnfig", "x")
    assert "  --enh_config " in printed
    assert "training config" in printed


def test_help_explains_stages_and_options(recipe):
    status, printed = recipe.run("--help")
    assert status == 0
    assert "2 perturb speed" in printed
    assert (
        "  --min_wav_duration       shortest training utterance in seconds (0.1)"
        in (printed.splitlines())
    )


@pytest.mark.parametrize(
    "spelling",
    [
        ["--stop_stage", "1"],
        ["--stop-stage", "1"],
        ["--stop_stage=1"],
        ["--stop-stage=1"],
    ],
)
def test_hyphens_and_equals_signs_are_spellings_of_the_same(
    recipe, eight_pairs, spelling
):
    status, printed = recipe.run("--local_data_opts", eight_pairs, *spelling)
    assert status == 0, printed
    assert "stage 1: " in printed
    assert "stage 3: " not in printed


def test_a_missing_package_is_named_with_its_fix(recipe):
    recipe.env["PATH"] = "/usr/bin:/bin"
    if shutil.which("bspmpnet", path=recipe.env["PATH"]) is not None:
        pytest.skip("the package is installed for the whole machine")
    status, printed = recipe.run("--stop_stage", "1")
    assert status == 1
    assert "run 'make install' in" in printed


def test_stages_1_to_5_make_what_training_reads_and_are_not_redone(
    recipe, eight_pairs, doom
):
    options = ["--local_data_opts", eight_pairs, "--stop_stage", "5"]
    doom("collect_stats *")
    status, printed = recipe.run(*options)
    assert status == 1
    log = "exp/enh_stats_16k/logdir/collect_stats.log"
    assert f"job 1 failed with status 137, log {log}, which ends:" in printed

    status, printed = recipe.run(*options)
    assert status == 0, printed
    utterances = [line.split()[0] for line in recipe.lines("dump/raw/tr_mini/wav.scp")]
    assert utterances == [f"s{n % 3}_{n:03d}" for n in sorted(range(8), key=key)]
    shapes = recipe.lines("exp/enh_stats_16k/train/speech_mix_shape")
    assert shapes == [f"{utterance} 16000" for utterance in utterances]

    status, printed = recipe.run(*options, "--nj", "2")
    assert status == 0, printed
    assert printed.count("done already") == 1 + 3 + 2 + 2  # of stages 1, 3, 4 and 5

    status, printed = recipe.run(*options, "--max_wav_duration", "0.5")
    assert status == 1
    assert "no utterance is between 0.1 and 0.5 s long" in printed


def key(number: int) -> tuple[int, int]:
    """Order of the pairs' names: speaker, then number."""
    return number % 3, number


def test_data_that_changed_is_formatted_again(recipe, eight_pairs):
    options = ["--stop_stage", "3", "--local_data_opts", eight_pairs]
    assert recipe.run(*options)[0] == 0
    listed = recipe.folder / "data/tr_mini/text"
    listed.write_text("s0_000 changed\n")
    _, printed = recipe.run(*options)
    redo = [
        line.rpartition("/raw/")[2] for line in printed.splitlines() if "/raw/" in line
    ]
    assert "org/tr_mini/.done)" not in redo
    assert "org/cv_mini/.done)" in redo


def test_perturbed_speed_triples_the_training_set(recipe, eight_pairs):
    status, printed = recipe.run(
        *["--local_data_opts", eight_pairs, "--stop_stage", "4"],
        *["--speed_perturb_factors", "0.9 1.0 1.1"],
    )
    assert status == 0, printed
    lengths = [
        line.split()[1] for line in recipe.lines("dump/raw/tr_mini_sp/utt2num_samples")
    ]
    assert sorted(lengths) == ["14545"] * 8 + ["16000"] * 8 + ["17778"] * 8
    assert len(recipe.lines("dump/raw/cv_mini/wav.scp")) == 8


def test_a_config_is_checked_again_when_its_base_has_changed(recipe, eight_pairs):
    options = ["--local_data_opts", eight_pairs, "--stop_stage"]
    status, printed = recipe.run(*options, "5")
    assert status == 0, printed
    resolved = yaml.safe_load("\n".join(recipe.lines("exp/enh_tiny_raw/train.yaml")))
    assert resolved == {**CONFIG, "max_epoch": 1}

    config = {**CONFIG, "separator_conf": {**TINY, "phase_pth": "mask"}}
    (recipe.folder / "conf/base.yaml").write_text(yaml.safe_dump(config))
    status, printed = recipe.run(*options, "6")
    assert status == 1
    assert "conf/tiny.yaml: " in printed and "did you mean 'phase_path'?" in printed
    assert "stage 6" not in printed


def test_killed_while_formatting_it_completes_when_run_again(recipe, make_pairs):
    data = data_options(make_pairs(40, seconds=4.0, rate=44100))
    options = ["--local_data_opts", data, "--stop_stage", "3"]
    process = recipe.start(*options)
    dump = recipe.folder / "dump/raw/org/tr_mini"
    while not list(dump.glob("data/wav/s*.wav")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (dump / "wav.scp").exists()
    assert not (dump / ".done").exists()

    status, printed = recipe.run(*options)
    assert status == 0, printed
    train, valid, test = (
        recipe.lines(f"{where}/wav.scp")
        for where in (
            "dump/raw/org/tr_mini",
            "dump/raw/org/cv_mini",
            "dump/raw/tt_mini",
        )
    )
    assert len(train) + len(valid) + len(test) == 40
    lengths = recipe.lines("dump/raw/org/tr_mini/utt2num_samples")
    assert {line.split()[1] for line in lengths} == {"64000"}


KALDI = """\
#!/usr/bin/env bash
# Kaldi's run.pl: notes how it is called, and runs the jobs one after the other.
echo "$*" >>{calls}
while [[ $1 == --* ]]; do
    [[ $1 =~ ^--(gpu|num_threads)$ ]] || {{ echo "bad option $1" && exit 1; }}
    shift 2
done
jobs=(1)
if [[ $1 == JOB=* ]]; then
    mapfile -t jobs < <(seq "${{1//[!0-9]/ }}")
    shift
fi
for job in "${{jobs[@]}}"; do
    words=("${{@//JOB/${{job}}}}")
    mkdir -p "$(dirname "${{words[0]}}")"
    [[ ${{words[1]}} != *python* ]] || continue # not trained for real
    "${{words[@]:1}}" >"${{words[0]}}" 2>&1 || exit 1
done
"""


def test_kaldis_job_commands_are_called_as_they_are_used_to(recipe, eight_pairs):
    (recipe.folder / "cmd.sh").unlink()
    (recipe.folder / "cmd.sh").write_text(
        'train_cmd="./run.pl"\ncuda_cmd="./run.pl"\ndecode_cmd="./run.pl"\n'
    )
    (recipe.folder / "run.pl").write_text(KALDI.format(calls="calls"))
    (recipe.folder / "run.pl").chmod(0o755)
    (recipe.folder / "exp/enh_tiny_raw").mkdir(parents=True)
    (recipe.folder / "exp/enh_tiny_raw/valid.loss.best.pth").touch()
    (recipe.folder / "exp/enh_stats_16k").mkdir()
    (recipe.folder / "exp/enh_stats_16k/.done").touch()
    options = ["--local_data_opts", eight_pairs, "--ngpu", "2", "--nj", "2"]
    status, printed = recipe.run(*options, "--stop_stage", "4")
    assert status == 0, printed
    calls = recipe.lines("calls")
    assert calls[0].startswith(
        "--num_threads 1 JOB=1:2 dump/raw/org/tr_mini/logdir/format.JOB.log "
        "bspmpnet format_data --src data/tr_mini"
    )
    assert calls[0].endswith(" --nj 1 --part JOB/2")
    options += ["--inference_nj", "3"]
    status, printed = recipe.run(*options, "--stage", "6", "--stop_stage", "7")
    assert "ids differ: 8 only in dump/raw/tt_mini/wav.scp" in printed
    calls = recipe.lines("calls")[len(calls) :]
    assert calls[0].startswith("--gpu 2 exp/enh_tiny_raw/train.log python3 -m ")
    logs = "exp/enh_tiny_raw/enhanced_tt_mini/logdir/enh_inference.JOB.log"
    shared = rf"--gpu 0 --num_threads \d+ JOB=1:3 {re.escape(logs)} python3 -m "
    assert re.match(shared, calls[1])


def test_evaluation_without_a_model_names_the_missing_file(recipe):
    status, printed = recipe.run("--stage", "7", "--expdir", "exp_new")
    assert status == 2
    assert printed.splitlines()[-1] == (
        "enh.sh: error: exp_new/enh_tiny_raw/valid.loss.best.pth is missing; "
        "train it (stage 6) or name another file there by --inference_model"
    )


def test_references_are_taken_by_their_old_names_with_a_notice(recipe):
    status, printed = recipe.run("--stage", "7", "--scoring_reference", "paper")
    assert status == 2
    assert "--scoring_reference paper is now --scoring_reference pcs\n" in printed
    assert "valid.loss.best.pth is missing" in printed


@pytest.mark.smoke
def test_the_whole_chain_trains_enhances_scores_and_packs(recipe, eight_pairs):
    options = ["--local_data_opts", eight_pairs, "--inference_nj", "1"]
    options += ["--pcs_outputs", "natural", "--enh_tag", "tiny"]
    options += ["--expdir", str(recipe.folder / "exp")]
    status, printed = recipe.run(*options)
    assert status == 0, printed
    assert "epoch 1/1 done: train loss" in printed
    assert len(recipe.lines("exp/enh_tiny/enhanced_tt_mini/spk1.scp")) == 8
    for results in ("exp/enh_tiny/RESULTS.md", "exp/RESULTS.md"):
        text = "\n".join(recipe.lines(results))
        for reference in ("clean speech", "PCS of the clean speech"):
            _, section = text.split(f"### Reference: {reference}\n")
            means = section.split("|95 % interval|")[0].splitlines()
            names = [row.split("|")[1] for row in means if "tt_mini|" in row]
            assert names[0] == "noisy_tt_mini"
            assert names[1].endswith("enhanced_tt_mini") and len(names) == 2
    assert "|RTF|" in text and "|DNSMOS_OVRL|" in text
    with ZipFile(recipe.folder / "exp/enh_tiny/enh_tiny_valid.loss.best.zip") as packed:
        assert {"exp/enh_tiny/config.yaml", "exp/enh_tiny/RESULTS.md"} <= set(
            packed.namelist()
        )

    status, printed = recipe.run(*options, "--stop_stage", "8")
    assert status == 0, printed
    assert "epoch 1/1" not in printed

    recipe.command = [str(recipe.folder / "exp/enh_tiny/run.sh")]
    status, printed = recipe.run("--stop_stage", "6")
    assert status == 0, printed
    assert "stage 6: " in printed
    assert "stage 5: " not in printed

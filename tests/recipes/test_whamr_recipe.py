"""The recipe of WHAMR! on its miniature, as a user runs it."""

import zipfile

import pytest

from tests.miniatures.whamr import COUNTS, write_sources
from tests.recipe import Recipe

TINY = [
    *("--enh_config", "../../mini/enh1/conf/train_mini.yaml", "--enh_tag", "tiny"),
    "--enh_args",
    "--max_epoch 1 --num_iters_per_epoch 2 --batch_size 2 --valid_batch_size 2",
    *("--ngpu", "0", "--gpu_inference", "false", "--nj", "2", "--inference_nj", "2"),
    *("--pcs_outputs", "natural", "--scoring_protocol", "PESQ STOI SI_SNR"),
]
SHARE = ["--skip_upload_hf", "false", "--upload_dry_run", "true"]
SHARE += ["--hf_repo", "ann/whamr_tiny"]
NUMBERS = "--num_train {tr} --num_valid {cv} --num_test {tt}".format(**COUNTS)


def test_what_is_licensed_is_said(repository, tmp_path):
    recipe = Recipe(repository, tmp_path, "whamr", WHAMR="", WSJ0="")
    status, printed = recipe.run("--stop_stage", "1")
    assert status == 2
    assert "neither WHAMR nor WSJ0 is set" in printed
    assert "https://catalog.ldc.upenn.edu/LDC93S6A" in printed


@pytest.mark.parametrize(
    "words, message",
    [
        (["--condition"], "--condition needs a value"),
        (["--condition=noise"], "give reverb, noisy, noisy_reverb or all"),
        (["--condition", "noisy", "--condtion", "all"], "unknown option '--condtion'"),
    ],
)
def test_a_wrong_condition_or_option_is_named(repository, tmp_path, words, message):
    status, printed = Recipe(repository, tmp_path, "whamr").run(*words)
    assert status == 2
    assert message in printed.splitlines()[-1]


def test_help_shows_the_condition_and_all_other_options(repository, tmp_path):
    status, printed = Recipe(repository, tmp_path, "whamr").run("--help")
    assert status == 0
    assert "  --condition " in printed
    assert (
        "  --train_set              name of the training set (required) (tr_all)"
        in (printed.splitlines())
    )


@pytest.mark.parametrize("condition, suffix", [("noisy", ""), ("all", "_all")])
def test_each_condition_takes_the_configuration_of_its_size(
    repository, tmp_path, condition, suffix
):
    recipe = Recipe(repository, tmp_path, "whamr")
    status, printed = recipe.run("--condition", condition, "--help")
    config = f"conf/train_bsp_mpnet_wavlm_large{suffix}.yaml"  # see tests/test_conf.py
    assert status == 0 and (recipe.folder / config).is_file()
    assert f"({config})" in printed and f"(tr_{condition})" in printed


@pytest.mark.recipe
def test_all_stages_from_wsj0_to_the_packed_model(repository, tmp_path):
    pytest.importorskip("pyroomacoustics", reason="the extra [whamr] is not installed")
    write_sources(tmp_path / "sources")
    recipe = Recipe(
        repository,
        tmp_path / "clone",
        "whamr",
        WHAMR="",
        WSJ0=str(tmp_path / "sources/csr_1"),
        WHAM_NOISE=str(tmp_path / "sources/wham_noise"),
        HOME=str(tmp_path),
    )
    lists = f"--lists {tmp_path / 'sources/whamr_scripts/data'}"
    status, printed = recipe.run(
        *("--condition", "all", "--stage", "1", "--stop-stage", "13", *TINY, *SHARE),
        *("--local_data_opts", f"{NUMBERS} {lists}"),
        timeout=900,
    )
    assert status == 0, printed
    for stage in (1, 3, 4, 5, 6, 7, 8, 11, 12, 13):
        assert f"stage {stage}: " in printed
    assert len(recipe.lines("dump/raw/tr_all/wav.scp")) == 3 * COUNTS["tr"]
    results = "\n".join(recipe.lines("exp/all/enh_tiny/RESULTS.md"))
    for condition in ("reverb", "noisy", "noisy_reverb"):
        enhanced = recipe.lines(f"exp/all/enh_tiny/enhanced_tt_{condition}/spk1.scp")
        assert len(enhanced) == COUNTS["tt"]
        assert f"|noisy_tt_{condition}|" in results
    packed = recipe.folder / "exp/all/enh_tiny/enh_tiny_valid.pesq.best.zip"
    with zipfile.ZipFile(packed) as archive:
        assert "all/enh_tiny/config.yaml" in archive.namelist()
    card = "\n".join(recipe.lines("exp/all/hf_ann_whamr_tiny/README.md"))
    assert "|enhanced_tt_noisy_reverb|" in card

    # One condition has an experiment of its own, and a tree may be given as it is.
    recipe.env["WHAMR"] = str(recipe.folder / "corpus")
    status, printed = recipe.run(
        *("--condition=noisy", "--stop_stage", "5", *TINY),
        *("--local_data_opts", NUMBERS),
    )
    assert status == 0, printed
    lengths = recipe.lines("exp/noisy/enh_stats_16k/train/speech_mix_shape")
    assert len(lengths) == COUNTS["tr"]
    assert all(int(line.split()[1]) >= 1.3 * 16000 for line in lengths)

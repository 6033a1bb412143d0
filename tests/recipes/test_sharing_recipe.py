"""A trained model's last stages: word errors, packing, the hub, and back from it."""

import json

import pytest

from tests.hub import serving
from tests.networks import save_model
from tests.recipe import Recipe
from tests.recipes.conftest import data_options
from tests.recogniser import save_recogniser

TEXT = "s0_000 one two three\ns1_001 four five\n"
SCORED = ["--pcs_outputs", "natural", "--scoring_protocol", "PESQ SI_SNR"]


@pytest.fixture
def trained(recipe, make_pairs) -> Recipe:
    """The recipe with two pairs and a network that was not trained, packed by hand."""
    recipe.command += ["--inference_nj", "1", *SCORED]
    data = data_options(make_pairs(2))
    status, printed = recipe.run("--local_data_opts", data, "--stop_stage", "1")
    assert status == 0, printed
    (recipe.folder / "data/tt_mini/text").write_text(TEXT)
    save_model(recipe.folder / "exp/enh_tiny_raw")
    recipe.command += ["--local_data_opts", data, "--skip_train", "true"]
    return recipe


def means(recipe, exp: str) -> dict:
    """Mean of each measure that an experiment's enhanced speech was given."""
    path = f"exp/{exp}/enhanced_tt_mini/scoring/reference_clean/summary.json"
    summary = json.loads((recipe.folder / path).read_text())
    return {name: values["mean"] for name, values in summary["metrics"].items()}


@pytest.mark.recipe
def test_from_word_errors_to_the_hub_and_back(trained, repository, tmp_path):
    save_recogniser(tmp_path / "asr_tiny")
    recognise = ["--score_with_asr", "true", "--asr_exp", str(tmp_path / "asr_tiny")]
    recognise += ["--inference_asr_args", "--beam_size 1 --ctc_weight 1.0"]
    share = ["--skip_upload_hf", "false", "--hf_repo", "ann/enh_tiny", "--lang", "en"]
    with serving() as hub:
        hub.accounts["anns token"] = "ann"
        trained.env |= hub.environment(tmp_path / "ann", "anns token")
        status, printed = trained.run("--stage", "3", *recognise, *share)
        assert status == 0, printed
        assert "stage 12: left out" in printed
        assert f"{hub.url}/ann/enh_tiny" in printed
        files = hub.repositories["ann/enh_tiny"]
        assert {"README.md", "meta.yaml", "exp/enh_tiny_raw/config.yaml"} <= set(files)

        results = "\n".join(trained.lines("exp/enh_tiny_raw/RESULTS.md"))
        _, words = results.split("## Recognised by asr_tiny_valid.acc.best_beam_size1")
        names = [line.split("|")[1] for line in words.splitlines() if "|2|5|" in line]
        assert names == ["noisy_tt_mini", "clean_tt_mini", "enhanced_tt_mini"]
        card = files["README.md"].decode()
        assert "### Recognised by" in card and "|enhanced_tt_mini|" in card

        # What is done is not done again, and writing the scores again keeps word errors.
        status, printed = trained.run("--stage", "8", "--stop_stage", "10", *recognise)
        assert status == 0, printed
        assert printed.count("done already") == 2 + 3
        assert words in "\n".join(trained.lines("exp/enh_tiny_raw/RESULTS.md"))

        # Another user has the recipe and the model's name.
        trained.env |= hub.environment(tmp_path / "bob")
        status, printed = trained.run(
            *["--stage", "3", "--download_model", "ann/enh_tiny", "--enh_config", ""]
        )
        assert status == 0, printed
        assert "stage 11" not in printed
    assert means(trained, "ann_enh_tiny") == means(trained, "enh_tiny_raw")


@pytest.mark.recipe
def test_a_packed_file_is_enhanced_with_and_a_dry_run_uploads_nothing(
    trained, tmp_path
):
    trained.env["HOME"] = str(tmp_path)
    scored = trained.run("--stage", "3", "--stop_stage", "11")
    assert scored[0] == 0, scored[1]
    share = ["--skip_upload_hf", "false", "--hf_repo", "ann/enh_tiny"]
    status, printed = trained.run("--stage", "12", *share, "--upload_dry_run", "true")
    assert status == 0, printed
    assert "exp/hf_ann_enh_tiny: this would be uploaded to ann/enh_tiny" in printed
    assert "pipeline_tag: audio-to-audio" in trained.lines(
        "exp/hf_ann_enh_tiny/README.md"
    )

    packed = trained.folder / "exp/enh_tiny_raw/enh_tiny_raw_valid.loss.best.zip"
    status, printed = trained.run(
        *["--stage", "7", "--stop_stage", "8", "--download_model", str(packed)]
    )
    assert status == 0, printed
    name = "enh_tiny_raw_valid.loss.best"
    assert means(trained, name) == means(trained, "enh_tiny_raw")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--score_with_asr", "true"], "name a recogniser by --asr_model_tag or"),
        (["--skip_upload_hf", "false"], "say where to by --hf_repo OWNER/NAME"),
        (
            ["--skip_upload_hf", "false", "--hf_repo", "enh_tiny"],
            "say where to by --hf_repo OWNER/NAME",
        ),
    ],
)
def test_what_the_last_stages_lack_is_named_before_the_first(recipe, options, message):
    status, printed = recipe.run(*options)
    assert status == 2
    assert message in printed.splitlines()[-1]
    assert "stage 1: " not in printed


def test_a_shared_model_that_is_not_there_is_named(recipe):
    status, printed = recipe.run(
        *["--stage", "7", "--stop_stage", "8", "--download_model", "gone.zip"]
    )
    assert status == 1
    assert "gone.zip: no such file or folder; name a packed model" in printed


@pytest.mark.recipe
def test_what_recognition_lacks_is_named(trained, tmp_path):
    save_recogniser(tmp_path / "asr_tiny")
    asr = ["--score_with_asr", "true", "--asr_exp", str(tmp_path / "asr_tiny")]
    (trained.folder / "data/tt_mini/text").unlink()
    assert trained.run("--stage", "3", "--stop_stage", "4")[0] == 0
    status, printed = trained.run("--stage", "9", "--stop_stage", "10", *asr)
    assert status == 2
    assert "dump/raw/tt_mini/text is missing; word error rates need" in printed
    status, printed = trained.run("--stage", "9", "--fs", "8k", *asr)
    assert status == 1
    assert "this recogniser was trained at 16000 Hz" in printed

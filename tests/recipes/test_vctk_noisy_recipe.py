"""The recipe of VoiceBank+DEMAND on the database's miniature, as a user runs it."""

import zipfile

import pytest

from tests.file_server import serving
from tests.miniatures.vctk_noisy import pack, write
from tests.recipe import Recipe

TINY = [
    *("--enh_config", "../../mini/enh1/conf/train_mini.yaml", "--enh_tag", "tiny"),
    "--enh_args",
    "--max_epoch 1 --num_iters_per_epoch 2 --batch_size 2 --valid_batch_size 2",
    *("--ngpu", "0", "--gpu_inference", "false", "--nj", "2", "--inference_nj", "2"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The miniature, unpacked; not to be changed."""
    return write(tmp_path_factory.mktemp("miniature") / "database")


def test_a_database_that_is_there_is_formatted(repository, tmp_path, database):
    recipe = Recipe(repository, tmp_path, "vctk_noisy", VCTK_NOISY=str(database))
    options = ["--stop_stage", "3", "--nj", "1"]
    status, printed = recipe.run(*options)
    assert status == 1
    assert "missing speakers: p231" in printed
    status, printed = recipe.run(*options, "--local_data_opts", "--check_counts false")
    assert status == 0, printed
    for name, count in (("org/tr_26spk", 6), ("org/cv_2spk", 4), ("tt_2spk", 4)):
        paths = [line.split()[1] for line in recipe.lines(f"dump/raw/{name}/wav.scp")]
        assert len(paths) == count
        made = recipe.folder / "data/formatted/data/wav"
        assert all(path.startswith(str(made)) for path in paths)  # not once more
        assert not (recipe.folder / f"dump/raw/{name}/logdir").exists()


@pytest.mark.recipe
def test_all_stages_from_the_download_to_the_packed_model(
    repository, tmp_path, database
):
    archives = pack(database, tmp_path / "archives")
    recipe = Recipe(repository, tmp_path / "clone", "vctk_noisy", NO_PROXY="*")
    with serving(
        {path.name: path.read_bytes() for path in archives.iterdir()}
    ) as mirror:
        status, printed = recipe.run(
            *("--stage", "1", "--stop-stage", "13", *TINY),
            *("--skip_upload_hf", "false", "--hf_repo", "someone/vctk_noisy_tiny"),
            *("--upload_dry_run", "true"),
            *("--local_data_opts", f"--url {mirror.url} --check_counts false"),
            timeout=600,
        )
    assert status == 0, printed
    for stage in (1, *range(3, 9), *range(11, 14)):
        assert f"stage {stage}: " in printed
    assert "would be uploaded to someone/vctk_noisy_tiny" in printed
    expected = recipe.folder / "exp/enh_tiny"
    for folder in ("enhanced_tt_2spk", "enhanced_tt_2spk_boosted"):
        assert len(recipe.lines(f"exp/enh_tiny/{folder}/spk1.scp")) == 4
    results = (expected / "RESULTS.md").read_text()
    assert "noisy_tt_2spk" in results and "### Reference: PCS of " in results
    with zipfile.ZipFile(expected / "enh_tiny_valid.pesq.best.zip") as packed:
        assert "exp/enh_tiny/config.yaml" in packed.namelist()

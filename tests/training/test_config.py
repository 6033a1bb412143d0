"""A wrong training configuration is one line, before anything is trained."""

import os
import re

import pytest
import yaml

from espnet2_bspmpnet.bin import enh_train
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.configurations import dump_config, read_config
from espnet2_bspmpnet.training.config import check_config, parse_training
from tests.networks import TINY

LOSS = {"name": "bsp_mpnet", "conf": {}, "wrapper": "bsp_mpnet", "wrapper_conf": {}}
GOOD = {
    "encoder": "same",
    "decoder": "same",
    "separator": "bsp_mpnet",
    "separator_conf": TINY,
    "criterions": [LOSS],
    "preprocessor": "enh",
    "preprocessor_conf": {"sample_rate": 16000, "speech_segment": 32000},
    "optim": "adam",
    "optim_conf": {"lr": 0.001},
    "scheduler": "warmupsteplr",
    "scheduler_conf": {"warmup_steps": 10},
}


FROZEN = {**TINY, "finetune": "none", "feature_cache": "cache"}
WHOLE = {"preprocessor_conf": {"sample_rate": 16000}}


def written(tmp_path, **changes):
    return write(tmp_path / "train.yaml", {**GOOD, **changes})


def write(path, config):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_good_one_passes(tmp_path):
    check_config(written(tmp_path))


def test_a_checkpoint_may_be_a_file_or_the_upstreams_own_name(tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_text("nobody reads this while checking")
    for checkpoint in (str(weights), "wavlm_base", None):
        options = {**TINY, "checkpoint": checkpoint}
        check_config(written(tmp_path, separator_conf=options))


def test_chosen_layers_are_checked_against_those_that_there_are(tmp_path):
    check_config(written(tmp_path, separator_conf={**TINY, "layers": [0, 2]}))
    with pytest.raises(UserError, match="train.yaml: separator_conf: layers: .*3"):
        check_config(written(tmp_path, separator_conf={**TINY, "layers": [3]}))


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"separator_conf": {**TINY, "phase_pat": "mask"}},
            "separator_conf has no option 'phase_pat'; did you mean 'phase_path'",
        ),
        (
            {"separator_conf": {**TINY, "phase_path": "masc"}},
            "train.yaml: separator_conf: phase_path: 'masc' is not one of mask",
        ),
        (
            {"separator_conf": {**TINY, "checkpoint": "/no/WavLM.pt"}},
            "checkpoint: /no/WavLM.pt does not exist; give the file",
        ),
        ({"separator_conf": {**TINY, "upstream": "wavlm"}}, "wavlm_large"),
        (
            {"separator_conf": {**TINY, "checkpoint": "hubert_base"}},
            "'hubert_base' are the weights of another model than upstream: 'wavlm",
        ),
        ({"separator_conf": None}, "train.yaml: separator_conf: None is no table"),
        (
            {"separator_conf": FROZEN},
            "speech_segment changes .* feature_cache .*; set speech_segment to null",
        ),
        (
            {"separator_conf": FROZEN, **WHOLE, "iterator_type": "chunk"},
            "iterator_type: chunk changes .*; choose 'iterator_type: sequence'",
        ),
        (
            {"separator_conf": FROZEN, "preprocessor": "dynamic_mixing"},
            "dynamic_mixing changes .*; choose 'preprocessor: enh'",
        ),
        (
            {"separator_conf": {**FROZEN, "finetune": "partial"}, **WHOLE},
            "train.yaml: separator_conf: feature_cache .*finetune: none",
        ),
        ({"max_epochs": 3}, "train.yaml: .*max_epochs"),
        ({"encoder": "stfft"}, "train.yaml: encoder: 'stfft' is not one of .*same"),
        ({"optim": "adamm"}, "train.yaml: optim: 'adamm' is not one of .*adam,"),
        ({"batch_type": "sortd"}, "train.yaml: batch_type: 'sortd' is not one"),
        ({"criterions": [{**LOSS, "name": "bsp"}]}, "criterions: bsp: .*bsp_mpnet"),
        (
            {"criterions": [{**LOSS, "conf": {"phase_weigt": 1}}]},
            "has no option 'phase_weigt'; did you mean 'phase_weight'",
        ),
        (
            {"criterions": [{**LOSS, "conf": {"phase_weight": -1}}]},
            "criterions: bsp_mpnet: loss weights",
        ),
        ({"criterions": [{**LOSS, "name": "pesq"}]}, "pesq: wrapper bsp_mpnet: goes"),
        (
            {"criterions": [{"name": "pesq", "wrapper": "validation"}]},
            "criterions: pesq: ESPnet wants a 'wrapper_conf', too",
        ),
        ({"preprocessor_conf": {"speech_segmnt": 1}}, "preprocessor_conf: .*segmnt"),
        (
            {"preprocessor": "bsp_mpnet", "preprocessor_conf": {"gain_rnge": [0, 1]}},
            "train.yaml: preprocessor_conf: .*no option 'gain_rnge'; did you mean 'gain",
        ),
        (
            {"preprocessor": "bsp_mpnet", "preprocessor_conf": {"remix_prob": 2}},
            "train.yaml: preprocessor_conf: remix_prob: 2 is no number from 0 to 1",
        ),
        (
            {
                "separator_conf": FROZEN,
                "preprocessor": "bsp_mpnet",
                "preprocessor_conf": {"speed_range": [0.9, 1.1]},
            },
            "speed_range changes .* feature_cache .*; set speed_range to null",
        ),
        (
            {
                "separator_conf": FROZEN,
                "preprocessor": "bsp_mpnet",
                "preprocessor_conf": {"remix_prob": 0.5},
            },
            "remix_prob changes .* feature_cache .*; set remix_prob to 0",
        ),
        ({"optim_conf": {"learning_rate": 1}}, "optim_conf: .*learning_rate"),
        (
            {"scheduler_conf": {"warm_up_steps": 1}},
            "no option 'warm_up_steps'; did you mean 'warmup_steps'",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_its_fix(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        check_config(written(tmp_path, **changes))


def test_wandb_is_missed_before_anything_else_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr("espnet2_bspmpnet.training.config.find_spec", lambda name: None)
    path = written(tmp_path, use_wandb=True)
    message = "wandb is not installed; run 'python -m pip install wandb'"
    with pytest.raises(UserError, match=f"train.yaml: use_wandb: {message}"):
        check_config(path)
    with pytest.raises(SystemExit, match=f"^enh_train: error: {message}"):
        enh_train.main(["--use_wandb", "true"])


def test_a_feature_cache_goes_with_whole_utterances(tmp_path):
    check_config(written(tmp_path, separator_conf=FROZEN, **WHOLE))


def test_the_preprocessor_that_augments_inherits_the_options_of_espnets(tmp_path):
    write(tmp_path / "base.yaml", GOOD)
    own = {"preprocessor": "bsp_mpnet", "preprocessor_conf": {"gain_range": [-6, 6]}}
    path = write(tmp_path / "own.yaml", {"base": "base.yaml", **own})
    check_config(path)
    assert read_config(path)["preprocessor_conf"] == {
        **GOOD["preprocessor_conf"],
        "gain_range": [-6, 6],
    }


def test_the_example_of_augmentation_in_the_docs_passes(repository, tmp_path):
    page = (repository / "docs/training.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    config = {**yaml.safe_load(example), "separator_conf": TINY}
    config["base"] = str(repository / "egs2/mini/enh1/conf" / config["base"])
    check_config(write(tmp_path / "example.yaml", config))


def test_the_file_that_was_given_is_checked_whole_and_named(tmp_path):
    write(tmp_path / "base.yaml", GOOD)
    own = {"base": "base.yaml", "separator_conf": {"phase_path": "none"}}
    check_config(write(tmp_path / "own.yaml", own))
    own["separator_conf"]["magnitude_path"] = False
    with pytest.raises(UserError, match="own.yaml: separator_conf: .*leaves nothing"):
        check_config(write(tmp_path / "own.yaml", own))


def test_training_parses_a_base_as_stock_espnet_parses_the_whole(tmp_path):
    from espnet2.tasks.enh import EnhancementTask

    write(tmp_path / "base.yaml", GOOD)
    own = {"base": "base.yaml", "optim_conf": {"lr": 1.0e-5}, "max_epoch": 7}
    path = str(write(tmp_path / "own.yaml", own))
    words = ["--max_epoch", "9", "--optim_conf", "amsgrad=true"]
    parsed = parse_training(["--config", path, *words])
    assert parsed.max_epoch == 9
    assert parsed.optim_conf == {"lr": 1.0e-5, "amsgrad": True}
    assert parsed.separator_conf == TINY

    shown = tmp_path / "shown.yaml"
    shown.write_text(dump_config(read_config(path)))
    stock = EnhancementTask.get_parser().parse_args(["--config", str(shown), *words])
    assert vars(parsed) == {**vars(stock), "config": path}


def test_training_parses_without_a_config_too():
    assert parse_training(["--max_epoch", "3"]).max_epoch == 3
    with pytest.raises(UserError, match="unrecognized arguments: --max_epochs"):
        parse_training(["--max_epochs", "3"])


def test_training_names_the_file_with_an_unknown_option(tmp_path):
    write(tmp_path / "base.yaml", {"max_epochs": 3})
    own = write(tmp_path / "own.yaml", {"base": "base.yaml"})
    with pytest.raises(SystemExit, match=f"^enh_train: error: .*max_epochs .*{own}"):
        enh_train.main([f"--config={own}"])


def test_noises_of_the_command_line_are_refused_with_kept_features_too(tmp_path):
    config = str(written(tmp_path, separator_conf=FROZEN, **WHOLE))
    assert parse_training(["--config", config]).separator_conf == FROZEN
    with pytest.raises(UserError, match="train.yaml: .*noise_scp changes .*feature_ca"):
        parse_training(["--config", config, "--noise_scp", "noise/wav.scp"])


def test_training_reads_a_config_from_a_pipe(tmp_path):
    reading, writing = os.pipe()
    with open(writing, "w") as pipe:
        pipe.write(dump_config(GOOD))
    parsed = parse_training(["--config", f"/dev/fd/{reading}"])
    os.close(reading)
    assert parsed.separator_conf == TINY

"""A wrong training configuration is told in one line, before anything is trained."""

import pytest
import yaml

from espnet2_bspmpnet.config import check_config
from espnet2_bspmpnet.errors import UserError
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


def written(tmp_path, **changes):
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_a_good_one_passes(tmp_path):
    check_config(written(tmp_path))


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
        ({"max_epochs": 3}, "train.yaml: .*max_epochs"),
        ({"encoder": "stfft"}, "train.yaml: .*encoder.*stfft"),
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
        ({"optim_conf": {"learning_rate": 1}}, "optim_conf: .*learning_rate"),
        (
            {"scheduler_conf": {"warm_up_steps": 1}},
            "no option 'warm_up_steps'; did you mean 'warmup_steps'",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_its_mend(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        check_config(written(tmp_path, **changes))


def test_a_missing_broken_or_empty_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such configuration file"):
        check_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("separator: [")
    with pytest.raises(UserError, match="broken.yaml: not valid YAML"):
        check_config(broken)
    broken.write_text("")
    with pytest.raises(UserError, match="broken.yaml: empty"):
        check_config(broken)

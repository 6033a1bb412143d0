"""The configurations in conf/ and their page: valid, the paper's, only what differs."""

import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from espnet2_bspmpnet import cli
from espnet2_bspmpnet.corpora.whamr.lists import COUNTS
from espnet2_bspmpnet.files.configurations import read_config
from espnet2_bspmpnet.training.config import check_config
from tests.networks import TINY, speech_like, tiny_separator

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"
PAGE = REPOSITORY / "docs/configurations.md"
RECIPE = REPOSITORY / "egs2/mini/enh1"
LARGE = CONF / "train_bsp_mpnet_wavlm_large.yaml"
ABLATION = sorted(CONF.glob("ablation/*.yaml"))
PLUS, SMALL = CONF / "train_bsp_mpnet_plus.yaml", CONF / "train_small.yaml"
CONFIGS = sorted([*CONF.glob("train_*.yaml"), *ABLATION])
VARIANTS = [path for path in CONFIGS if path not in (LARGE, PLUS, SMALL)]
WHAMR = REPOSITORY / "egs2/whamr/enh1/conf"
TABLE_IV = ("w/o PF", "w/o PCS", "w/o FS-SSL", "w/o MP-2DC", "w/o Mag.", "w/o Pha.")
TABLE_IV += ("w/o REMA", "w/o Mask Gate")
# What a row of Table IV does without, in the names of its parameters.
GONE = {
    "wo_fs_ssl": "fs_ssl.gates",
    "wo_mp_2dc": "coarse_encoder",
    "wo_mag": "magnitude_path",
    "wo_pha": "phase_path",
    "wo_rema": "rema.blocks",
    "wo_mask_gate": "head.mask",
}


def name(path: Path) -> str:
    return str(path.relative_to(CONF).with_suffix(""))


def build(path: Path):
    """Build the network that a configuration describes, over a tiny SSL model."""
    conf = read_config(path)["separator_conf"]
    return tiny_separator(**{**conf, "upstream": TINY["upstream"]})


def network(row: str):
    return build(CONF / f"ablation/{row}.yaml").eval().bsp_mpnet


@pytest.mark.parametrize(
    "path",
    [*CONFIGS, *sorted(REPOSITORY.glob("egs2/*/enh1/conf/train_*.yaml"))],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_each_passes_the_check_without_weights_or_network(path, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("no network is needed to check a configuration")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", refuse)
    check_config(path)


@pytest.mark.parametrize("path", VARIANTS, ids=name)
def test_each_says_only_which_of_the_complete_ones_options_differ(path):
    own = yaml.safe_load(path.read_text())
    assert own.keys() == {"base", "separator_conf"}
    assert (path.parent / own["base"]).resolve() == LARGE
    complete = read_config(LARGE)["separator_conf"]
    for option, value in own["separator_conf"].items():
        assert value != complete[option]  # which is named there, too


def test_each_row_of_table_iv_switches_one_thing_and_each_another_one():
    changed = [
        yaml.safe_load(path.read_text())["separator_conf"].keys() for path in ABLATION
    ]
    assert len(changed) == len(TABLE_IV)
    pcs = {"pcs_input", "pcs_target"}  # two switches of one thing
    assert all(len(options) == 1 or options == pcs for options in changed)
    assert len(set().union(*changed)) == sum(map(len, changed))


@pytest.mark.parametrize("row, part", GONE.items())
def test_a_row_of_table_iv_lacks_its_part_and_has_fewer_parameters(row, part):
    complete = dict(build(LARGE).named_parameters())
    left = dict(build(CONF / f"ablation/{row}.yaml").named_parameters())
    assert [parameter for parameter in complete if part in parameter]
    assert not [parameter for parameter in left if part in parameter]
    count, fewer = (sum(p.numel() for p in x.values()) for x in (complete, left))
    assert fewer < count


def test_without_partial_fine_tuning_the_ssl_model_learns_nothing():
    complete, frozen = (build(path) for path in (LARGE, CONF / "ablation/wo_pf.yaml"))
    learning, fixed = (
        {part for part, p in x.bsp_mpnet.named_parameters() if p.requires_grad}
        for x in (complete, frozen)
    )
    assert [part for part in learning if part.startswith("ssl.")]
    assert not [part for part in fixed if part.startswith("ssl.")]
    assert {part for part in learning if not part.startswith("ssl.")} == fixed


def test_without_pcs_the_network_sees_and_estimates_the_plain_magnitude():
    wave, _ = speech_like(3000)
    plain, boosted = network("wo_pcs"), build(LARGE).bsp_mpnet
    magnitude, _ = plain.spectrum(wave)
    assert torch.equal(plain.target(wave)[0], magnitude) and not plain.pcs_input
    assert not torch.equal(boosted.target(wave)[0], magnitude) and boosted.pcs_input


@pytest.mark.parametrize("row, part", [("wo_mag", 0), ("wo_pha", 1)])
def test_a_path_that_is_left_out_keeps_what_is_noisy(row, part):
    wave, lengths = speech_like(3000)
    without, complete = network(row), build(LARGE).eval().bsp_mpnet
    with torch.no_grad():
        noisy = complete.target(wave)
        assert torch.equal(without(wave, lengths)[part], noisy[part])
        assert not torch.equal(without(wave, lengths)[1 - part], noisy[1 - part])
        assert not torch.equal(complete(wave, lengths)[part], noisy[part])


def test_plus_gives_the_same_at_any_level_and_the_complete_one_does_not():
    wave, lengths = speech_like(3000)
    for path, same in ((CONF / "train_bsp_mpnet_plus.yaml", True), (LARGE, False)):
        separator = build(path).eval()
        with torch.no_grad():
            one, louder = (separator(gain * wave, lengths)[0][0] for gain in (1, 8))
        assert torch.allclose(louder, 8 * one, atol=1e-4) == same


def test_files_are_named_by_their_ssl_models():
    for path in CONF.glob("train_bsp_mpnet_*.yaml"):
        model = path.stem.removeprefix("train_bsp_mpnet_").replace(
            "plus", "wavlm_large"
        )
        assert read_config(path)["separator_conf"]["upstream"].startswith(model)


def weighed_loss(config: dict, separator, noisy, clean, lengths):
    """What ESPnet's enhancement model makes of a configuration's criterions."""
    from espnet2.tasks.enh import criterion_choices, loss_wrapper_choices

    outputs, _, others = separator(noisy, lengths)
    total = 0.0
    for entry in config["criterions"]:
        criterion = criterion_choices.get_class(entry["name"])(**entry["conf"])
        wrapper = loss_wrapper_choices.get_class(entry["wrapper"])
        solve = wrapper(criterion=criterion, **entry["wrapper_conf"])
        if entry["wrapper"] != "validation":
            total = total + solve.weight * solve([clean], outputs, others)[0].mean()
    return total


@pytest.mark.parametrize("path", [PLUS, SMALL], ids=name)
def test_the_bands_learn_within_some_steps_and_keep_the_sign(path):
    config = read_config(path)
    options = dict(decoder_dim=16, num_heads=2, num_bands=8, num_blocks=1)
    upstream = config["separator_conf"]["upstream"]
    if upstream != "none":
        upstream = TINY["upstream"]
    conf = {**config["separator_conf"], **options, "upstream": upstream}
    separator = tiny_separator(**conf).train()
    clean, lengths = speech_like(8000, 8000)
    noisy = clean + 0.05 * torch.randn(clean.shape)
    optimizer = torch.optim.Adam(separator.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = weighed_loss(config, separator, noisy, clean, lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < losses[0] - 0.1  # 3 dB of SNR alone are .09
    (output,), _, _ = separator.eval()(noisy, lengths)
    assert torch.cosine_similarity(output, clean).min() > 0.5


def test_the_numbers_are_those_of_section_iv_c():
    config = read_config(LARGE)
    rate = config["preprocessor_conf"]["sample_rate"]
    assert config["preprocessor_conf"]["speech_segment"] == 2 * rate
    assert rate == 16000
    assert (config["batch_size"], config["max_epoch"]) == (16, 100)
    assert config["optim"] == "adam"
    assert config["separator_conf"]["upstream"] == "wavlm_large"
    assert config["separator_conf"]["finetune"] == "partial"
    (loss,) = [part for part in config["criterions"] if part["name"] == "bsp_mpnet"]
    assert loss["conf"] == {
        "magnitude_weight": 1.0,
        "phase_weight": 0.5,
        "complex_weight": 0.1,
    }


@pytest.mark.parametrize("path", sorted(WHAMR.iterdir()), ids=lambda path: path.stem)
def test_those_of_whamr_say_only_how_many_steps_an_epoch_has(path):
    own = yaml.safe_load(path.read_text())
    assert own.keys() == {"base", "scheduler_conf"}
    assert own["scheduler_conf"].keys() == {"steps_per_epoch"}
    assert read_config(path)["separator_conf"] == read_config(LARGE)["separator_conf"]


@pytest.mark.parametrize(
    "path, utterances",
    [
        (LARGE, 10802),  # of VoiceBank+DEMAND without the speakers of validation
        (WHAMR / "train_bsp_mpnet_wavlm_large.yaml", COUNTS["tr"]),
        (WHAMR / "train_bsp_mpnet_wavlm_large_all.yaml", 3 * COUNTS["tr"]),
    ],
    ids=lambda value: getattr(value, "stem", value),
)
def test_the_rate_climbs_for_4000_steps_then_falls_by_2_percent_every_second_epoch(
    tmp_path, path, utterances
):
    from espnet2.samplers.unsorted_batch_sampler import UnsortedBatchSampler
    from espnet2.tasks.abs_task import scheduler_classes

    config = read_config(path)
    assert config["batch_type"] == "unsorted"
    shapes = tmp_path / "speech_mix_shape"
    shapes.write_text("".join(f"{n} 1\n" for n in range(utterances)))
    epoch = len(UnsortedBatchSampler(config["batch_size"], str(shapes)))
    assert config["scheduler_conf"]["steps_per_epoch"] == epoch
    optimizer = torch.optim.Adam([torch.nn.Parameter()], **config["optim_conf"])
    scheduler = scheduler_classes[config["scheduler"]](
        optimizer, **config["scheduler_conf"]
    )
    rates = []
    for _ in range(4001 + 8 * epoch):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert max(rates) == rates[3999] == pytest.approx(4e-4, rel=0.01)
    assert rates[1999] == pytest.approx(rates[3999] / 2, rel=0.01)
    assert rates[4000 + 2 * epoch] == pytest.approx(0.98 * rates[4000], rel=1e-6)
    assert rates[4000 + 8 * epoch] == pytest.approx(0.98**4 * rates[4000], rel=1e-6)


def test_the_page_lists_every_configuration_and_all_rows_of_table_iv():
    rows = re.findall(r"^\| `(.+)\.yaml` \|.*\|(.*)\|$", PAGE.read_text(), re.M)
    assert sorted(file for file, _ in rows) == [name(path) for path in CONFIGS]
    ablation = [paper.strip() for file, paper in rows if file.startswith("ablation/")]
    assert [row.removeprefix("Table IV, ") for row in ablation] == list(TABLE_IV)


def test_every_command_of_the_page_runs(tmp_path, monkeypatch):
    (tmp_path / "conf").symlink_to(CONF)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(yaml|sh)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for language, text in blocks:
        if language == "yaml":
            file = re.match(r"# (\w+\.yaml)\n", text)[1]
            (tmp_path / file).write_text(text)
        else:
            for line in text.splitlines():
                run(shlex.split(line))
    written = [yaml.safe_load(Path(x, "config.yaml").read_text()) for x in "ab"]
    for config, folder, file in zip(
        written, "ab", ("mine.yaml", "whole.yaml"), strict=True
    ):
        assert (config.pop("output_dir"), config.pop("config")) == (folder, file)
        assert config["separator_conf"]["upstream"] == "hubert_base"
    assert written[0] == written[1]


def run(words: list[str]) -> None:
    """Run a command in this process, where ESPnet has been imported."""
    if words[0] == "bspmpnet":
        assert cli.main(words[1:]) == 0
    elif words[0] == "./run.sh":
        assert (RECIPE / words[2]).is_file()
        subprocess.run([*words, "--help"], cwd=RECIPE, check=True, capture_output=True)
    else:
        assert words[0] in ("python", "bspmpnet-python") and words[1] == "-m"
        import_module(words[2]).main(words[3:])

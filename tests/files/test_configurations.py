"""A configuration is its own options over those of its base, and that one's base."""

import pytest
import yaml

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.configurations import dump_config, read_config


def write(path, config):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_base_is_merged_key_by_key_and_all_else_is_replaced(tmp_path):
    base = {
        "separator_conf": {"rema": True, "upstream_conf": {"conv_pos": 8, "depth": 1}},
        "best_model_criterion": [["valid", "pesq", "max"], ["valid", "loss", "min"]],
        "grad_clip": 5.0,
        "seed": 1,
    }
    own = {
        "base": "base.yaml",
        "separator_conf": {"upstream_conf": {"depth": 5}},
        "best_model_criterion": [["valid", "loss", "min"]],
        "grad_clip": None,
        "max_epoch": 2,
    }
    write(tmp_path / "base.yaml", base)
    assert read_config(write(tmp_path / "own.yaml", own)) == {
        "separator_conf": {"rema": True, "upstream_conf": {"conv_pos": 8, "depth": 5}},
        "best_model_criterion": [["valid", "loss", "min"]],
        "grad_clip": None,
        "seed": 1,
        "max_epoch": 2,
    }


def test_options_of_what_another_choice_replaced_are_not_inherited(tmp_path):
    schedule = {"scheduler": "warmupsteplr", "scheduler_conf": {"step_size": 2}}
    optimizer = {"optim": "adam", "optim_conf": {"lr": 0.001, "amsgrad": True}}
    write(tmp_path / "base.yaml", {**schedule, **optimizer})
    changes = {"optim": "sgd", "optim_conf": {"lr": 0.1}, "scheduler": "warmupsteplr"}
    own = write(tmp_path / "own.yaml", {"base": "base.yaml", **changes})
    assert read_config(own) == {**schedule, **changes}


def test_the_preprocessor_that_augments_takes_the_options_of_espnets(tmp_path):
    options = {"preprocessor": "enh", "preprocessor_conf": {"speech_segment": 32000}}
    write(tmp_path / "base.yaml", options)
    own = {"base": "base.yaml", "preprocessor": "bsp_mpnet"}
    found = read_config(write(tmp_path / "own.yaml", own))
    assert found == {**options, "preprocessor": "bsp_mpnet"}


def test_bases_follow_each_other_each_relative_to_the_file_that_says_so(
    tmp_path, monkeypatch
):
    write(tmp_path / "conf/large.yaml", {"a": 1, "b": 1, "c": 1})
    write(tmp_path / "conf/more/two.yaml", {"base": "../large.yaml", "b": 2, "c": 2})
    write(tmp_path / "mine/three.yaml", {"base": "../conf/more/two.yaml", "c": 3})
    monkeypatch.chdir(tmp_path / "mine")
    assert read_config("three.yaml") == {"a": 1, "b": 2, "c": 3}
    four = write(tmp_path / "four.yaml", {"base": str(tmp_path / "mine/three.yaml")})
    assert read_config(four) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a": {"base": "a.yaml"}}, "a.yaml: base: goes round .*a.yaml -> .*a.yaml"),
        (
            {"a": {"base": "b.yaml"}, "b": {"base": "../conf/a.yaml"}},
            "b.yaml: base: goes round .*a.yaml -> .*b.yaml -> .*a.yaml",
        ),
        ({"a": {"base": "none.yaml"}}, "a.yaml: base: there is no .*conf/none.yaml"),
        ({"a": {"base": ["b.yaml"]}}, "a.yaml: base: .*b.yaml.* is no file; name one"),
        ({"a": {"base": None}}, "a.yaml: base: None is no file"),
        ({"a": {"base": "b.yaml"}, "b": []}, "b.yaml: empty, or not a table"),
    ],
    ids=str,
)
def test_a_base_that_cannot_be_is_named_with_the_file_that_wants_it(
    tmp_path, files, message
):
    for name, config in files.items():
        write(tmp_path / f"conf/{name}.yaml", config)
    with pytest.raises(UserError, match=message):
        read_config(tmp_path / "conf/a.yaml")


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "own.yaml: no such configuration file; give one with --enh_config"),
        (b"a: [1", "own.yaml: not valid YAML"),
        (b"\xff", "own.yaml: not valid YAML"),
        (b"- a", "own.yaml: empty, or not a table"),
        (b"", "own.yaml: empty, or not a table"),
    ],
)
def test_a_missing_damaged_or_empty_file_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "own.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_config(tmp_path / "own.yaml")


def test_what_is_dumped_reads_the_same_and_has_no_aliases(tmp_path):
    table = {"lr": 4.0e-4}
    config = {"b": table, "a": table, "path": ["x", None, True], "word": "yes"}
    text = dump_config(config)
    assert "&" not in text and "*" not in text
    (tmp_path / "own.yaml").write_text(text)
    assert read_config(tmp_path / "own.yaml") == config
    assert list(yaml.safe_load(text)) == list(config)

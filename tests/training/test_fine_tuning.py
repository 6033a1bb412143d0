"""The SSL part's own learning rate, under ESPnet's schedulers, and what is trained."""

import copy
from argparse import Namespace

import pytest
import torch
from espnet2.tasks.abs_task import optim_classes, scheduler_classes
from espnet2.tasks.enh import EnhancementTask
from torch import nn

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.training.fine_tuning import (
    scale_ssl,
    scale_ssl_learning_rate,
    trainable_table,
)
from espnet2_bspmpnet.training.task import training_task
from tests.networks import tiny_separator

SCHEDULERS = {
    "warmupsteplr": {"warmup_steps": 4, "steps_per_epoch": 3, "gamma": 0.5},
    "cosineannealingwarmuprestarts": {
        "first_cycle_steps": 8, "warmup_steps": 3, "max_lr": 0.1, "min_lr": 0.01,
    },
    "reducelronplateau": {"patience": 0, "factor": 0.5},
    "onecyclelr": {"max_lr": 0.1, "total_steps": 20},
}  # fmt: skip


class Model(nn.Module):
    """An ESPnet model as far as this module looks at it."""

    def __init__(self, separator):
        super().__init__()
        self.separator = separator


def enhancement_model(lr_scale=1.0, **changes):
    return Model(tiny_separator(ssl_lr_scale=lr_scale, **changes))


def build(model, optim="adam", exclude_weight_decay=False, sharded_ddp=False, **conf):
    """Build optimizers as a training does for a configuration with these options."""
    args = Namespace(
        optim=optim,
        optim_conf={"lr": 0.1, **conf},
        sharded_ddp=sharded_ddp,
        exclude_weight_decay=exclude_weight_decay,
        exclude_weight_decay_conf={},
    )
    task = training_task(EnhancementTask)
    (optimizer,) = task.build_optimizers(args, model=model)
    return optimizer


def two_parts():
    torch.manual_seed(0)
    return nn.ModuleDict({"ssl": nn.Linear(3, 3), "rest": nn.Linear(3, 1)})


def step(parts, optimizer):
    optimizer.zero_grad()
    parts["rest"](parts["ssl"](torch.ones(1, 3))).sum().backward()
    optimizer.step()


def schedule(scheduler):
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        scheduler.step(1.0)
    else:
        scheduler.step()


def used_rates(optimizer):
    """A list that grows by the groups' learning rates at every step."""
    rates = []
    optimizer.register_step_post_hook(
        lambda optimizer, *_: rates.append([g["lr"] for g in optimizer.param_groups])
    )
    return rates


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_ratio_holds_under_a_scheduler_and_the_rest_is_trained_as_without(name):
    rates = {}
    for scale in (1.0, 0.1):
        parts = two_parts()
        optimizer = torch.optim.SGD(parts.parameters(), lr=0.1, momentum=0.9)
        if scale != 1:
            scale_ssl_learning_rate(optimizer, parts["ssl"].parameters(), scale)
        scheduler = scheduler_classes[name](optimizer, **SCHEDULERS[name])
        rates[scale] = used_rates(optimizer)
        for _ in range(12):
            step(parts, optimizer)
            schedule(scheduler)
    plain = [rest for (rest,) in rates[1.0]]
    assert len(set(plain)) > 2
    assert rates[0.1] == [[rest, pytest.approx(0.1 * rest)] for rest in plain]


def test_the_first_plain_step_moves_the_ssl_part_by_that_much_less():
    moved = {}
    for scale in (1.0, 0.25):
        parts = two_parts()
        before = copy.deepcopy(parts)
        optimizer = torch.optim.SGD(parts.parameters(), lr=0.1)
        scale_ssl_learning_rate(optimizer, parts["ssl"].parameters(), scale)
        step(parts, optimizer)
        moved[scale] = {
            name: parts[name].weight - before[name].weight for name in ("ssl", "rest")
        }
    assert torch.equal(moved[0.25]["rest"], moved[1.0]["rest"])
    torch.testing.assert_close(moved[0.25]["ssl"], 0.25 * moved[1.0]["ssl"])


def test_a_resumed_training_goes_on_as_if_never_stopped():
    def start():
        parts = two_parts()
        optimizer = torch.optim.Adam(parts.parameters(), lr=0.1)
        scale_ssl_learning_rate(optimizer, parts["ssl"].parameters(), 0.1)
        conf = SCHEDULERS["cosineannealingwarmuprestarts"]
        cosine = scheduler_classes["cosineannealingwarmuprestarts"]
        return parts, optimizer, cosine(optimizer, **conf)

    def advance(state, steps):
        for _ in range(steps):
            step(*state[:2])
            state[2].step()

    whole, first, second = start(), start(), start()
    advance(whole, 10)
    advance(first, 5)
    for new, old in zip(second, first):
        new.load_state_dict(copy.deepcopy(old.state_dict()))
    rates = used_rates(second[1])
    advance(second, 5)
    assert rates and all(ssl == pytest.approx(0.1 * rest) for rest, ssl in rates)
    for one, other in zip(whole[0].parameters(), second[0].parameters()):
        assert torch.equal(one, other)


def test_every_group_of_weight_decay_is_split_and_the_rest_comes_first():
    model = enhancement_model(0.1)
    groups = build(
        model, "adamw", exclude_weight_decay=True, weight_decay=0.5
    ).param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0, 0.5, 0.0]
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    ssl = set(model.separator.bsp_mpnet.ssl.parameters())
    assert not ssl & {p for group in groups[:2] for p in group["params"]}
    assert ssl == {p for group in groups[2:] for p in group["params"]}
    everything = [p for group in groups for p in group["params"]]
    assert len(everything) == len(set(everything)) == len(list(model.parameters()))


@pytest.mark.parametrize("optim", ["adam", "sgd", "radam", "adagrad", "rmsprop"])
def test_espnets_optimizers_take_the_scale(optim):
    assert optim in optim_classes
    optimizer = build(enhancement_model(0.1), optim)
    assert [group["lr"] for group in optimizer.param_groups] == [
        0.1, pytest.approx(0.01)
    ]  # fmt: skip


def test_without_a_scale_the_optimizer_is_espnets():
    model = enhancement_model()
    (group,) = build(model).param_groups
    assert group["params"] == list(model.parameters())


def test_a_changed_scale_is_named_when_a_checkpoint_is_resumed():
    plain, scaled = build(enhancement_model()), build(enhancement_model(0.1))
    with pytest.raises(UserError, match="1 group.s. .* 2: ssl_lr_scale or"):
        scaled.load_state_dict(plain.state_dict())
    with pytest.raises(UserError, match="2 group.s. .* 1: ssl_lr_scale or"):
        plain.load_state_dict(scaled.state_dict())


def test_sharded_training_is_refused():
    optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters())
    network = tiny_separator(ssl_lr_scale=0.1).bsp_mpnet
    with pytest.raises(UserError, match="sharded_ddp knows one learning rate"):
        scale_ssl([optimizer], Namespace(sharded_ddp=True), network)


def rows(network):
    """The table as {block: (parameters, trained, learning rate)}."""
    table = trainable_table(network)
    cells = {}
    for line in table.splitlines()[1:]:
        count, trained = line[18:46].replace(",", "").split()
        cells[line[:18].strip()] = (int(count), int(trained), line[46:].strip())
    return cells


def sizes(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_the_table_counts_every_parameter_once():
    network = tiny_separator(finetune="partial", ssl_lr_scale=0.1).bsp_mpnet
    table = rows(network)
    convolutions = sizes(network.ssl.model.feature_extractor)
    ssl = sizes(network.ssl)
    paths = (network.magnitude_path, network.phase_path)
    assert table["SSL convolutions"] == (convolutions, 0, "frozen")
    assert table["SSL transformer"] == (*[ssl - convolutions] * 2, "x 0.1")
    assert table["FS-SSL"] == (*[sizes(network.fs_ssl)] * 2, "x 1")
    assert table["REMA decoders"] == (*[sizes(*(p.rema for p in paths))] * 2, "x 1")
    blocks = [row for name, row in table.items() if name != "total"]
    assert table["total"][:2] == tuple(sum(row[i] for row in blocks) for i in (0, 1))
    assert table["total"][0] == sizes(network)


@pytest.mark.parametrize(
    ("finetune", "rates"),
    [
        ("partial", ("frozen", "x 1")),
        ("full", ("x 1", "x 1")),
        ("none", ("frozen", "frozen")),
    ],
)
def test_the_table_says_what_finetune_does(finetune, rates):
    table = rows(tiny_separator(finetune=finetune).bsp_mpnet)
    assert (table["SSL convolutions"][2], table["SSL transformer"][2]) == rates


def test_the_table_leaves_out_blocks_that_are_switched_off():
    network = tiny_separator(coarse_encoder=False, phase_path="none").bsp_mpnet
    table = rows(network)
    assert "coarse encoders" not in table
    assert table["REMA decoders"][0] == sizes(network.magnitude_path.rema)


def test_what_espnet_freezes_counts_as_frozen():
    network = tiny_separator().bsp_mpnet
    network.fs_ssl.requires_grad_(False)
    assert rows(network)["FS-SSL"] == (sizes(network.fs_ssl), 0, "frozen")

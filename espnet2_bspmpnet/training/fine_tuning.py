"""How the SSL part is trained beside the rest: its learning rate; what is frozen."""

from argparse import Namespace
from collections.abc import Iterable, Sequence

from torch import nn
from torch.optim import Optimizer

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.network.bsp_mpnet import BSPMPNet


def scale_ssl(
    optimizers: Sequence[Optimizer], args: Namespace, network: BSPMPNet
) -> Sequence[Optimizer]:
    """Give the SSL part its own learning rate, the option ``ssl_lr_scale``.

    From now on the optimizers refuse a checkpoint of other groups of parameters.

    Raises:
        UserError: with ``sharded_ddp``.
    """
    scale = 1.0 if network.ssl is None else network.ssl.lr_scale
    if scale != 1 and args.sharded_ddp:
        raise UserError(
            "ssl_lr_scale: sharded_ddp knows one learning rate only; leave out one of"
            " the two"
        )
    for optimizer in optimizers:
        if scale != 1:
            scale_ssl_learning_rate(optimizer, network.ssl.parameters(), scale)
        optimizer.register_load_state_dict_pre_hook(_refuse_other_groups)
    return optimizers


def scale_ssl_learning_rate(
    optimizer: Optimizer, ssl_parameters: Iterable[nn.Parameter], scale: float
) -> None:
    """Train the SSL part, frozen or not, at ``scale`` times the learning rate of the rest.

    Every group of parameters is split in two: the rest stays where it was, the SSL part
    becomes a group at the end.  Some schedulers set the same rate for all groups, hence
    the ratio is restored before every step; in between, as in ESPnet's log of the
    learning rates, such a scheduler's own value is seen.  No scheduler may have seen the
    optimizer before.
    """
    ssl_parameters = set(ssl_parameters)
    pairs = []  # (index of a group of the rest, index of the SSL group split from it)
    for index, group in enumerate(list(optimizer.param_groups)):
        ours = [p for p in group["params"] if p in ssl_parameters]
        if ours:
            group["params"] = [p for p in group["params"] if p not in ssl_parameters]
            pairs.append((index, len(optimizer.param_groups)))
            lr = scale * group["lr"]
            optimizer.add_param_group({**group, "params": ours, "lr": lr})

    def keep_ratio(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        # By index: loading an optimizer's state puts new groups in place of the old.
        for rest, ours in pairs:
            lr = scale * optimizer.param_groups[rest]["lr"]
            optimizer.param_groups[ours]["lr"] = lr

    optimizer.register_step_pre_hook(keep_ratio)


def _refuse_other_groups(optimizer: Optimizer, state: dict) -> None:
    """Stop a resumed training whose groups of parameters are not those of before."""
    then, now = len(state["param_groups"]), len(optimizer.param_groups)
    if then != now:
        raise UserError(
            f"checkpoint.pth has {then} group(s) of parameters, this configuration"
            f" {now}: ssl_lr_scale or exclude_weight_decay was changed; resume with"
            " the old values, or train into another folder"
        )


def trainable_table(network: BSPMPNet) -> str:
    """List the network's blocks: parameters, those trained, relative learning rate.

    Frozen are those that ``finetune`` or ESPnet's ``freeze_param`` keep from training.
    """
    rows = [f"{'block':<18}{'parameters':>14}{'trained':>14}  learning rate"]
    total = [0, 0]
    for name, parameters, scale in _blocks(network):
        count = sum(parameter.numel() for parameter in parameters)
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        rate = f"x {scale:g}" if trained else "frozen"
        rows.append(f"{name:<18}{count:>14,}{trained:>14,}  {rate}")
        total = [total[0] + count, total[1] + trained]
    rows.append(f"{'total':<18}{total[0]:>14,}{total[1]:>14,}")
    return "\n".join(rows)


def _blocks(network: BSPMPNet) -> list[tuple[str, list[nn.Parameter], float]]:
    """Name, parameters and learning rate's scale of the blocks that have parameters."""
    blocks = [] if network.ssl is None else _ssl_blocks(network)
    paths = [p for p in (network.magnitude_path, network.phase_path) if p is not None]
    for name, part in (
        ("coarse encoders", "coarse_encoder"),
        ("REMA decoders", "rema"),
        ("heads", "head"),
    ):
        modules = nn.ModuleList(getattr(path, part) for path in paths)
        blocks.append((name, list(modules.parameters()), 1.0))
    if network.bands is not None:
        blocks.append(("bands decoder", list(network.bands.parameters()), 1.0))
    return [block for block in blocks if block[1]]


def _ssl_blocks(network: BSPMPNet) -> list[tuple[str, list[nn.Parameter], float]]:
    convolutions = list(network.ssl.model.feature_extractor.parameters())
    known = set(convolutions)
    transformer = [p for p in network.ssl.parameters() if p not in known]
    return [
        ("SSL convolutions", convolutions, network.ssl.lr_scale),
        ("SSL transformer", transformer, network.ssl.lr_scale),
        ("FS-SSL", list(network.fs_ssl.parameters()), 1.0),
    ]

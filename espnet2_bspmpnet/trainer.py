"""Training that survives being killed: whole files only, and no epoch half-finished.

ESPnet's trainer writes its checkpoint in place and then, one after the other, the
epoch's model and the links to the latest and best; killed in between it resumes from a
torn file or misses a model.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import torch
from espnet2.train.reporter import Reporter
from espnet2.train.trainer import Trainer

from espnet2_bspmpnet.atomic import replacing
from espnet2_bspmpnet.checkpoints import read_checkpoint
from espnet2_bspmpnet.feature_cache import caching_features
from espnet2_bspmpnet.fine_tuning import find_network, scaling_ssl, trainable_table


class ResumableTrainer(Trainer):
    """ESPnet's trainer, with its files written beside and renamed."""

    @classmethod
    def install(cls, task: type) -> None:
        """Make a task train with this trainer, unless it has one of its own.

        Its optimizers are from now on built with ``ssl_lr_scale`` in any case.
        """
        if task.trainer is Trainer:
            task.trainer = cls
        build_optimizers = scaling_ssl(task.build_optimizers.__func__)
        task.build_optimizers = classmethod(build_optimizers)

    @classmethod
    def run(cls, *, model, trainer_options, distributed_option, **rest) -> None:
        """Train; first finish what a killed run left undone after its checkpoint."""
        first = not distributed_option.distributed or distributed_option.dist_rank == 0
        if first and trainer_options.resume:
            finish_epoch(
                Path(trainer_options.output_dir), trainer_options.best_model_criterion
            )
        network = find_network(model)
        if first and network is not None:
            logging.info("What is trained:\n%s", trainable_table(network))
        ssl = None if network is None else network.ssl
        with saving_whole_files(), caching_features(ssl):
            super().run(
                model=model,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
                **rest,
            )


@contextmanager
def saving_whole_files() -> Iterator[None]:
    """Within this context torch.save leaves a whole new file, or the old one."""
    save = torch.save

    def save_beside(obj, f, *args, **kwargs):
        if not isinstance(f, (str, PathLike)):
            return save(obj, f, *args, **kwargs)
        with replacing(f) as temporary:
            return save(obj, temporary, *args, **kwargs)

    torch.save = save_beside
    try:
        yield
    finally:
        torch.save = save


def finish_epoch(output_dir: Path, best_model_criterion) -> None:
    """Write the model and the links of the last checkpoint's epoch, where missing.

    Args:
        output_dir: ESPnet's experiment folder; without a checkpoint nothing is done.
        best_model_criterion: ESPnet's (phase, name, mode) triples.
    """
    checkpoint = output_dir / "checkpoint.pth"
    if not checkpoint.exists():
        return
    states = read_checkpoint(checkpoint)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    epoch = reporter.get_epoch()
    model = output_dir / f"{epoch}epoch.pth"
    if not model.exists():
        with replacing(model) as temporary:
            torch.save(states["model"], temporary)
    _link(output_dir / "latest.pth", model.name)
    for phase, name, mode in best_model_criterion:
        if reporter.has(phase, name):
            best = f"{reporter.get_best_epoch(phase, name, mode)}epoch.pth"
            if (output_dir / best).exists():
                _link(output_dir / f"{phase}.{name}.best.pth", best)


def _link(link: Path, target: str) -> None:
    with replacing(link) as temporary:
        temporary.symlink_to(target)

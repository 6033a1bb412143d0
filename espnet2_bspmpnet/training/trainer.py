"""Training that survives being killed, and says how far it is.

ESPnet's trainer writes its checkpoint in place and then, one after the other, the
epoch's model and the links to the latest and best; killed in between it resumes from a
torn file or misses a model.
"""

import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import torch
from espnet2.train import trainer as espnet_trainer
from espnet2.train.reporter import Reporter
from espnet2.train.trainer import Trainer

from espnet2_bspmpnet.enh.losses import need_waveform
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import replacing
from espnet2_bspmpnet.files.checkpoints import read_checkpoint
from espnet2_bspmpnet.jobs.state import started_from_scratch, starts_from_scratch
from espnet2_bspmpnet.training.augmentation import augmenting
from espnet2_bspmpnet.training.feature_cache import caching_features
from espnet2_bspmpnet.training.fine_tuning import (
    find_network,
    scaling_ssl,
    trainable_table,
)
from espnet2_bspmpnet.training.progress import Progress

OLD = "old"  # where the files of the training before go
FILES = ("checkpoint.pth", "*epoch.pth", "*.best.pth", "latest.pth", "*.ave*.pth")


class ResumableTrainer(Trainer):
    """ESPnet's trainer, with its files written beside and renamed."""

    progress: Progress  # of the training that runs

    @classmethod
    def install(cls, task: type) -> None:
        """Make a task train with this trainer, unless it has one of its own.

        Its optimizers are from now on built with ``ssl_lr_scale``, its batches with
        the preprocessor ``bsp_mpnet`` where asked for, in any case.
        """
        if task.trainer is Trainer:
            task.trainer = cls
        build_optimizers = scaling_ssl(task.build_optimizers.__func__)
        task.build_optimizers = classmethod(build_optimizers)
        augmenting(task)

    @classmethod
    def run(cls, *, model, trainer_options, distributed_option, **rest) -> None:
        """Train; first finish what a killed run left undone after its checkpoint."""
        output_dir = Path(trainer_options.output_dir)
        distributed = distributed_option.distributed
        first = not distributed or distributed_option.dist_rank == 0
        if first:
            if not trainer_options.resume or starts_from_scratch(output_dir):
                set_aside(output_dir)
            finish_epoch(output_dir, trainer_options.best_model_criterion)
        if distributed:  # all look for the checkpoint after it was set aside
            torch.distributed.barrier()
        # ESPnet 202511 would train one more epoch and look then.
        if (epoch := early_end(output_dir, trainer_options)) is not None:
            trainer_options.max_epoch = epoch
        network = find_network(model)
        if first and network is not None:
            logging.info("What is trained:\n%s", trainable_table(network))
        if first and trainer_options.use_amp and trainer_options.ngpu == 0:
            logging.info(
                "use_amp: bfloat16 on the CPU; warnings of CUDA mean GPUs alone"
            )
        ssl = None if network is None else network.ssl
        if network is not None:
            checkpoint = output_dir / "checkpoint.pth"
            if not (trainer_options.resume and checkpoint.exists()):
                ssl.load_pretrained()
            model.separator.waveform_in_training = need_waveform(model.loss_wrappers)
        cls.progress = Progress(
            trainer_options.max_epoch,
            trainer_options.best_model_criterion,
            trainer_options.log_interval,
            distributed_option.dist_world_size if distributed else 1,
        )
        with saving_whole_files(), ranking_nan_last(), caching_features(ssl):
            super().run(
                model=model,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
                **rest,
            )

    @classmethod
    def resume(cls, *, reporter, **rest) -> None:
        """Resume from a checkpoint."""
        super().resume(reporter=reporter, **rest)
        cls.progress.recall(reporter)

    @classmethod
    def train_one_epoch(cls, *, model, iterator, reporter, options, **rest) -> bool:
        """Train one epoch, telling its progress.

        Raises:
            UserError: no step had finite gradients, of which ESPnet would only warn.
        """
        with mixed_precision_on_cpu(model, options):
            nothing_learnt = super().train_one_epoch(
                model=model,
                iterator=cls.progress.training(iterator, reporter),
                reporter=reporter,
                options=options,
                **rest,
            )
        if nothing_learnt:
            raise UserError(
                f"the gradients of epoch {reporter.epoch} were infinite or NaN in all of "
                "its steps; lower optim_conf's lr, or look for strange audio. What was "
                "saved after the epoch before is kept"
            )
        return nothing_learnt

    @classmethod
    def validate_one_epoch(cls, *, model, iterator, reporter, options, **rest) -> None:
        """Validate, telling the progress and what the epoch came to."""
        with mixed_precision_on_cpu(model, options):
            super().validate_one_epoch(
                model=model,
                iterator=cls.progress.validation(iterator, reporter),
                reporter=reporter,
                options=options,
                **rest,
            )
        cls.progress.summarise(reporter)


class RankingReporter(Reporter):
    """ESPnet's reporter, to which NaN, of an epoch that came first, is the best."""

    def sort_epochs_and_values(self, key: str, key2: str, mode: str) -> list:
        """Give epochs and their values, the best first, those without one last."""

        def rank(found: tuple[int, float]) -> tuple:
            epoch, value = found
            return math.isnan(value), -value if mode == "max" else value, epoch

        return sorted(super().sort_epochs_and_values(key, key2, mode), key=rank)


@contextmanager
def ranking_nan_last() -> Iterator[None]:
    """Within this context ESPnet's trainer uses RankingReporter."""
    espnet_trainer.Reporter = RankingReporter
    try:
        yield
    finally:
        espnet_trainer.Reporter = Reporter


@contextmanager
def mixed_precision_on_cpu(model: torch.nn.Module, options) -> Iterator[None]:
    """Within this context ``use_amp`` means bfloat16 on the CPU, as it does on GPUs.

    ESPnet's own autocast reaches GPUs only.
    """
    if not options.use_amp or options.ngpu > 0:
        yield
        return
    # Around the forward pass alone, as ESPnet's.
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    try:
        yield
    finally:
        del model.forward


def set_aside(output_dir: Path) -> None:
    """Move what an earlier training left to old/, in place of what is there.

    Args:
        output_dir: ESPnet's experiment folder.
    """
    # The checkpoint first: without it nothing is resumed that is half gone.
    models = [path for name in FILES for path in sorted(output_dir.glob(name))]
    if models:
        old = output_dir / OLD
        if (output_dir / "checkpoint.pth").exists() and old.exists():
            shutil.rmtree(old)
        old.mkdir(exist_ok=True)
        for path in dict.fromkeys([*models, *output_dir.glob("tensorboard")]):
            if path.is_dir():
                shutil.rmtree(old / path.name, ignore_errors=True)
            path.replace(old / path.name)
        logging.info("Training starts anew; the files of the one before are in %s", old)
    started_from_scratch(output_dir)


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
    reporter = _recalled(states)
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


def early_end(output_dir: Path, options) -> int | None:
    """Give the epoch at which early stopping has ended a training; None if it has not.

    Args:
        output_dir: ESPnet's experiment folder.
        options: ESPnet's of the trainer.
    """
    checkpoint = output_dir / "checkpoint.pth"
    if options.patience is None or not checkpoint.exists():
        return None
    reporter = _recalled(read_checkpoint(checkpoint))
    criterion = options.early_stopping_criterion
    if reporter.has(*criterion[:2]) and reporter.check_early_stopping(
        options.patience, *criterion
    ):
        return reporter.get_epoch()
    return None


def _recalled(states: dict) -> RankingReporter:
    reporter = RankingReporter()
    reporter.load_state_dict(states["reporter"])
    return reporter


def _link(link: Path, target: str) -> None:
    with replacing(link) as temporary:
        temporary.symlink_to(target)

"""Training that survives being killed, and reports its progress.

ESPnet's trainer writes its checkpoint in place and then, one after the other, the
epoch's model and the links to the latest and best; killed in between it resumes from a
torn file or misses a model.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from espnet2.train import trainer as espnet_trainer
from espnet2.train.trainer import Trainer

from espnet2_bspmpnet.enh.losses import need_waveform
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import replacing
from espnet2_bspmpnet.files.checkpoints import read_checkpoint
from espnet2_bspmpnet.jobs.state import started_from_scratch, starts_from_scratch
from espnet2_bspmpnet.network.bsp_mpnet import BSPMPNet
from espnet2_bspmpnet.training.feature_cache import caching_features
from espnet2_bspmpnet.training.fine_tuning import trainable_table
from espnet2_bspmpnet.training.progress import log_interval, logging_steps
from espnet2_bspmpnet.training.reporter import ProgressReporter, RankingReporter

OLD = "old"  # where the files of the training before go
CHECKPOINT = "checkpoint.pth"
FILES = (CHECKPOINT, "*epoch.pth", "*.best.pth", "latest.pth", "*.ave*.pth")


class ResumableTrainer(Trainer):
    """ESPnet's trainer of a BSP-MPNet, with its files written beside and renamed."""

    @classmethod
    def run(cls, *, model, trainer_options, distributed_option, **rest) -> None:
        """Train; first finish what a killed run left undone after its checkpoint."""
        output_dir = Path(trainer_options.output_dir)
        first = not distributed_option.distributed or distributed_option.dist_rank == 0
        if first:
            if not trainer_options.resume or starts_from_scratch(output_dir):
                set_aside(output_dir)
            finish_epoch(output_dir, trainer_options.best_model_criterion)
        if distributed_option.distributed:  # all look for the checkpoint after that
            torch.distributed.barrier()
        # ESPnet 202511 would train one more epoch and look then.
        if (epoch := early_end(output_dir, trainer_options)) is not None:
            trainer_options.max_epoch = epoch
        ssl = model.separator.bsp_mpnet.ssl
        resumed = trainer_options.resume and (output_dir / CHECKPOINT).exists()
        if ssl is not None and not resumed:
            ssl.load_pretrained()
        model.separator.waveform_in_training = need_waveform(model.loss_wrappers)
        if first:
            log_setting(model.separator.bsp_mpnet, trainer_options)
        reporter = partial(ProgressReporter, trainer_options)
        with (
            saving_whole_files(),
            replaced(espnet_trainer, "Reporter", reporter),
            caching_features(ssl) if ssl is not None else nullcontext(),
        ):
            super().run(
                model=model,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
                **rest,
            )

    @classmethod
    def train_one_epoch(cls, *, iterator, options, **rest) -> bool:
        """Train one epoch, and log its progress.

        Raises:
            UserError: no step had finite gradients, of which ESPnet would only warn.
        """
        # ESPnet's own lines and TensorBoard's values come at the same steps.
        options = replace(options, log_interval=log_interval(iterator, options))
        steps = logging_steps(iterator, rest["reporter"], options)
        with mixed_precision_on_cpu(rest["model"], options):
            if super().train_one_epoch(iterator=steps, options=options, **rest):
                raise UserError(
                    f"the gradients of epoch {rest['reporter'].epoch} were infinite or NaN"
                    " in all of its steps; lower optim_conf's lr, or look for strange"
                    " audio. What was saved after the epoch before is kept"
                )
        return False

    @classmethod
    def validate_one_epoch(cls, *, iterator, options, **rest) -> None:
        """Validate, and log the progress."""
        steps = logging_steps(iterator, rest["reporter"], options)
        with mixed_precision_on_cpu(rest["model"], options):
            super().validate_one_epoch(iterator=steps, options=options, **rest)


def log_setting(network: BSPMPNet, options) -> None:
    """Log what is trained, and in which precision where that may be misunderstood."""
    logging.info("What is trained:\n%s", trainable_table(network))
    if options.use_amp and options.ngpu == 0:
        logging.info("use_amp: bfloat16 on the CPU; warnings of CUDA mean GPUs alone")


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Within this context ``owner.name`` is another one."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def saving_whole_files() -> Iterator[None]:
    """Within this context torch.save leaves a whole new file, or the old one."""
    save = torch.save

    def save_beside(obj, f, *args, **kwargs):
        if not isinstance(f, (str, PathLike)):
            return save(obj, f, *args, **kwargs)
        with replacing(f) as temporary:
            return save(obj, temporary, *args, **kwargs)

    with replaced(torch, "save", save_beside):
        yield


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
    """Move what an earlier training left to old/, in place of what is there."""
    # The checkpoint first: without it nothing is resumed that is half gone.
    models = [path for name in FILES for path in sorted(output_dir.glob(name))]
    if models:
        old = output_dir / OLD
        if (output_dir / CHECKPOINT).exists() and old.exists():
            shutil.rmtree(old)
        old.mkdir(exist_ok=True)
        for path in dict.fromkeys([*models, *output_dir.glob("tensorboard")]):
            if path.is_dir():
                shutil.rmtree(old / path.name, ignore_errors=True)
            path.replace(old / path.name)
        logging.info(
            "Training starts from scratch; the files of the one before are in %s", old
        )
    started_from_scratch(output_dir)


def finish_epoch(output_dir: Path, best_model_criterion) -> None:
    """Write the model and the links of the last checkpoint's epoch, where missing.

    Without a checkpoint nothing is done. The criteria are ESPnet's (phase, name, mode).
    """
    if not (output_dir / CHECKPOINT).exists():
        return
    reporter, states = _recall(output_dir)
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
    """Give the epoch at which early stopping has ended a training; None if it has not."""
    if options.patience is None or not (output_dir / CHECKPOINT).exists():
        return None
    reporter, _ = _recall(output_dir)
    criterion = options.early_stopping_criterion
    ended = reporter.has(*criterion[:2]) and reporter.check_early_stopping(
        options.patience, *criterion
    )
    return reporter.get_epoch() if ended else None


def _recall(output_dir: Path) -> tuple[RankingReporter, dict]:
    states, reporter = read_checkpoint(output_dir / CHECKPOINT), RankingReporter()
    reporter.load_state_dict(states["reporter"])
    return reporter, states


def _link(link: Path, target: str) -> None:
    with replacing(link) as temporary:
        temporary.symlink_to(target)

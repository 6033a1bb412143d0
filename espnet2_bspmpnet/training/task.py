"""What a task of ESPnet's does otherwise where it trains a separator ``bsp_mpnet``."""

from espnet2.train.trainer import Trainer

from espnet2_bspmpnet.training.augmentation import remixing
from espnet2_bspmpnet.training.fine_tuning import scale_ssl
from espnet2_bspmpnet.training.trainer import ResumableTrainer


class BSPMPNetTraining:
    """Mixed into an enhancement task: optimizers and batches of our own."""

    @classmethod
    def build_optimizers(cls, args, model):
        """Build ESPnet's optimizers; the SSL part has its own learning rate."""
        optimizers = super().build_optimizers(args, model=model)
        return scale_ssl(optimizers, args, model.separator.bsp_mpnet)

    @classmethod
    def build_collate_fn(cls, args, train):
        """Build ESPnet's function of a batch; in training noises may change places."""
        collate = super().build_collate_fn(args, train)
        return remixing(collate, args) if train else collate


def training_task(task: type) -> type:
    """Derive a task that trains ``bsp_mpnet``; a trainer that is not ESPnet's is kept."""
    trainer = ResumableTrainer if task.trainer is Trainer else task.trainer
    # By its name Weights & Biases files the runs.
    return type(task.__name__, (BSPMPNetTraining, task), {"trainer": trainer})

"""The task that trains bsp_mpnet is a subclass of ESPnet's, which stays as it is."""

from espnet2.tasks.enh import EnhancementTask
from espnet2.train.trainer import Trainer

from espnet2_bspmpnet.training.task import training_task
from espnet2_bspmpnet.training.trainer import ResumableTrainer


def test_it_has_our_trainer_and_the_name_of_espnets_task():
    task = training_task(EnhancementTask)
    assert task.trainer is ResumableTrainer
    assert task.__name__ == "EnhancementTask"  # Weights & Biases' project
    assert EnhancementTask.trainer is Trainer


def test_what_a_subclass_has_of_its_own_is_kept():
    class OwnTrainer(Trainer):
        pass

    class OwnTask(EnhancementTask):  # as those of ESPnet-EZ
        trainer = OwnTrainer

        @classmethod
        def build_model(cls, args):
            return "own model"

    task = training_task(OwnTask)
    assert task.trainer is OwnTrainer
    assert task.build_model(None) == "own model"

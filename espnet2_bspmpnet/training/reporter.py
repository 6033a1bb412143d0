"""ESPnet's record of the epochs: undefined values rank last, each epoch gets a line."""

import logging
import math

from espnet2.train.reporter import Reporter, SubReporter

from espnet2_bspmpnet.training.progress import epoch_line, speed


class RankingReporter(Reporter):
    """ESPnet's reporter, which takes NaN for the best value if it came first."""

    def sort_epochs_and_values(self, key: str, key2: str, mode: str) -> list:
        """Give epochs and their values, the best first, those without one last."""

        def rank(found: tuple[int, float]) -> tuple:
            epoch, value = found
            return math.isnan(value), -value if mode == "max" else value, epoch

        return sorted(super().sort_epochs_and_values(key, key2, mode), key=rank)


class ProgressReporter(RankingReporter):
    """Sums up each epoch in one line of the log."""

    def __init__(self, options):
        super().__init__()
        self._options = options
        self._trained: list[str] = []

    def finish_epoch(self, sub_reporter: SubReporter) -> None:
        """Take over what was reported while training or validating."""
        if sub_reporter.key == "train":
            self._trained = speed(sub_reporter)
        super().finish_epoch(sub_reporter)
        if sub_reporter.key == "valid":
            logging.info(epoch_line(self, self._trained, self._options))

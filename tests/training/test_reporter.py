"""ESPnet's record of the epochs, in which an undefined value is never the best."""

import pytest

from espnet2_bspmpnet.training.reporter import RankingReporter


@pytest.mark.parametrize("mode, ranks", [("max", [3, 2, 4]), ("min", [4, 2, 3])])
def test_an_epoch_of_which_nothing_is_known_is_the_best_only_if_all_are(mode, ranks):
    nan = float("nan")
    values = {1: nan, 2: 2.0, 3: 3.0, 4: 1.0, 5: nan}
    reporter = RankingReporter()
    reporter.load_state_dict(
        {"epoch": 5, "stats": {e: {"valid": {"pesq": v}} for e, v in values.items()}}
    )
    assert reporter.sort_epochs("valid", "pesq", mode) == [*ranks, 1, 5]
    assert not reporter.check_early_stopping(3, "valid", "pesq", mode)

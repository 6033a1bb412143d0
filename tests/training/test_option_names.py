"""A misspelt option is named with the one that was meant, or with all that there are."""

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.training.option_names import refuse_unknown

KNOWN = {"phase_path", "rema", "dropout"}


@pytest.mark.parametrize(
    "name, message",
    [
        ("phase_pat", "^conf has no option 'phase_pat'; did you mean 'phase_path'\\?$"),
        ("xyz", "^conf has no option 'xyz'; known: dropout, phase_path, rema$"),
    ],
)
def test_an_unknown_option_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        refuse_unknown("conf", ["rema", name], KNOWN)


def test_known_options_pass():
    refuse_unknown("conf", ["rema", "dropout"], KNOWN)

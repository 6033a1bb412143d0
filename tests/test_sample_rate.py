"""The network's rate has one home: whoever needs it imports it."""

import ast
from pathlib import Path

import espnet2_bspmpnet
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

PACKAGE = Path(espnet2_bspmpnet.__file__).parent
# Rates of others, which happen to be the same: PESQ's wideband, ESPnet's default.
OTHERS = {"measures/metrics.py", "scoring/word_errors.py"}


def test_no_other_module_spells_the_rate():
    spelt = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == SAMPLE_RATE
    }
    assert spelt == {"sample_rate.py", *OTHERS}

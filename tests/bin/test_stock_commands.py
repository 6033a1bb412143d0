"""What of ESPnet's commands is ESPnet's own knows the model all the same."""

from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["enh_scoring", "pack"])
def test_it_is_espnets_command_with_the_model_registered(name):
    from espnet2.tasks.enh import separator_choices

    ours = import_module(f"espnet2_bspmpnet.bin.{name}")
    assert ours.main is import_module(f"espnet2.bin.{name}").main
    assert "bsp_mpnet" in separator_choices.classes

"""BSP-MPNet (arXiv 2503.21571), a speech-enhancement network for ESPnet2.

Importing this package makes ESPnet2 know the separator ``bsp_mpnet`` and its losses
(see plugin/registration.py).  It loads neither torch nor ESPnet: what is needed is imported
when it is first used.
"""

from importlib import import_module

from espnet2_bspmpnet.plugin.registration import register

__version__ = "0.1.0"

_HOME = {
    "BSPMPNet": "network.bsp_mpnet",
    "BSPMPNetSeparator": "enh.separator",
    "Enhancer": "inference.enhancer",
    "UserError": "errors",
    "score": "scoring.folders",
}
__all__ = ["__version__", "register", *_HOME]


def __getattr__(name: str):
    """Import a public name from its module when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


register()

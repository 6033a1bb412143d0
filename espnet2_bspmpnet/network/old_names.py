"""Names of tensors in models that were trained with version 0.1.0."""

import re

from torch import Tensor, nn

RENAMED = [
    (
        re.compile(
            rf"((?:magnitude|phase)_path\.rema\.blocks\.\d+)\.norms\.{number}\."
        ),
        norm,
    )
    for number, norm in enumerate(
        (
            r"\1.self_attention_norm.",
            r"\1.self_attention_ffn_norm.",
            r"\1.gru_norm.",
            r"\1.tfa_norm.",
            r"\1.tfa_ffn_norm.",
        )
    )
] + [
    (re.compile(r"(magnitude_path\.head)\.(?=conv|lsigmoid)"), r"\1.mask."),
    (re.compile(r"(phase_path\.head)\.(conv|real)\."), r"\1.outputs.0."),
    (re.compile(r"(phase_path\.head)\.imaginary\."), r"\1.outputs.1."),
]


def rename_tensors(
    module: nn.Module, state: dict[str, Tensor], prefix: str, *_
) -> None:
    """Give the tensors of an older model file their present names, in place.

    Args:
        module: the BSPMPNet that is about to load them.
        state: names -> tensors, those of other modules among them.
        prefix: of this module's names.
    """
    for name in [name for name in state if name.startswith(prefix)]:
        own = name.removeprefix(prefix)
        for pattern, replacement in RENAMED:
            if pattern.match(own):
                state[prefix + pattern.sub(replacement, own)] = state.pop(name)

"""A small BSP-MPNet for tests: every block of the real one, few channels."""

import torch

TINY_UPSTREAM = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "conv_feature_layers": [[8, 10, 5]] + [[8, 3, 2]] * 4 + [[8, 2, 2]] * 2,
    "conv_pos": 8,
    "conv_pos_groups": 2,
}
TINY = {
    "upstream": "wavlm_base",
    "upstream_conf": TINY_UPSTREAM,
    "checkpoint": "random",
    "finetune": "full",
    "decoder_dim": 16,
    "num_blocks": 1,
    "num_heads": 2,
    "ffn_expansion": 2,
    "coarse_channels": 4,
}


def tiny_separator(**changes):
    """Build a small separator, the same weights at every call."""
    from espnet2_bspmpnet.separator import BSPMPNetSeparator

    torch.manual_seed(0)
    return BSPMPNetSeparator(1, **{**TINY, **changes})


def speech_like(*lengths: int, seed: int = 0):
    """A padded batch of modulated harmonics and noise [B, L], and its lengths [B]."""
    generator = torch.Generator().manual_seed(seed)
    wave = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        time = torch.arange(length) / 16000
        pitch = 100 + 40 * row
        tone = sum(torch.sin(6.2832 * pitch * k * time) / k for k in range(1, 20))
        syllables = torch.sin(6.2832 * 3 * time + row).clamp(min=0)
        noise = torch.randn(length, generator=generator)
        wave[row, :length] = 0.1 * tone * syllables + 0.001 * noise
    return wave, torch.tensor(lengths)

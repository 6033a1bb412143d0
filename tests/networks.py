"""A small BSP-MPNet for tests: every block of the real one, few channels."""

import torch
import yaml

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
    from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator

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


def save_model(expdir, **changes):
    """Save a small model as training does: config.yaml and valid.loss.best.pth.

    Args:
        expdir: folder of the experiment, made if need be.
        changes: entries of the training configuration.
    """
    from espnet2.tasks.enh import EnhancementTask

    from espnet2_bspmpnet import register

    register()
    config = EnhancementTask.get_default_config() | {
        "encoder": "same",
        "encoder_conf": {},
        "decoder": "same",
        "decoder_conf": {},
        "separator": "bsp_mpnet",
        "separator_conf": TINY,
        "criterions": [
            {"name": "bsp_mpnet", "wrapper": "bsp_mpnet", "wrapper_conf": {}}
        ],
        **changes,
    }
    expdir.mkdir(parents=True, exist_ok=True)
    (expdir / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model, _ = EnhancementTask.build_model_from_file(expdir / "config.yaml")
    torch.save(model.state_dict(), expdir / "valid.loss.best.pth")

"""A small recogniser of ESPnet's, which has learnt nothing."""

from pathlib import Path

import torch
import yaml

TOKENS = ["<blank>", "<unk>", *"abcdefghijklmnopqrstuvwxyz'", "<space>", "<sos/eos>"]
LAYERS = {"attention_heads": 2, "linear_units": 16, "num_blocks": 1}


def save_recogniser(expdir: Path) -> None:
    """Save config.yaml and valid.acc.best.pth, as training does."""
    from espnet2.tasks.asr import ASRTask

    config = ASRTask.get_default_config() | {
        "token_list": TOKENS,
        "token_type": "char",
        "frontend": "default",
        "frontend_conf": {"fs": 16000, "n_mels": 20},
        "specaug": None,
        "normalize": "utterance_mvn",
        "normalize_conf": {},
        "encoder": "transformer",
        "encoder_conf": {**LAYERS, "output_size": 16},
        "decoder": "transformer",
        "decoder_conf": LAYERS,
    }
    expdir.mkdir(parents=True)
    (expdir / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model, _ = ASRTask.build_model_from_file(expdir / "config.yaml")
    torch.save(model.state_dict(), expdir / "valid.acc.best.pth")

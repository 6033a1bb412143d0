"""Time and memory of a training step of the SSL frontend, against s3prl's own.

    python benchmarks/ssl_frontend.py --upstream wavlm_base --batch 16
    python benchmarks/ssl_frontend.py --upstream wavlm_large --batch 4 --rounds 2

Both have the same random weights' shapes, partial fine-tuning, two weighted sums of all
layers (Eq. 3) and Adam.  The straightforward one is s3prl's UpstreamExpert with all its
hidden states stacked.  The two run in turn, each time in a process of its own; quote the
ratios.  Memory is the highest that such a process holds, measured in processes that
give memory back as soon as it is free, less what it holds after the imports.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONTENDERS = ("ours", "expert")
SAMPLES = 32000  # 2 s


def main() -> None:
    """Compare, or be one of those that are compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", default="wavlm_base", help="one of WavLM's")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2, help="timed steps a process")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each")
    parser.add_argument("--run", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run(options)))
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Run both in turn and print medians and ratios."""
    seconds = {name: [] for name in CONTENDERS}
    memory = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(options.upstream, Path(folder))
        for _ in range(options.rounds):
            for name in CONTENDERS:
                seconds[name] += child(options, name, checkpoint)["seconds"]
        for name in CONTENDERS:
            trimmed = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
            memory[name] = child(options, name, checkpoint, trimmed)["bytes"] / 1e9
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name in CONTENDERS:
        spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
        print(f"{name:>7}: {medians[name]:.2f} s ({spread}), {memory[name]:.2f} GB")
    print(
        f"{options.upstream}, batch {options.batch} x 2 s, expert / ours: time"
        f" {medians['expert'] / medians['ours']:.2f}, memory"
        f" {memory['expert'] / memory['ours']:.2f}"
    )


def child(options: argparse.Namespace, name: str, checkpoint: Path, more=None) -> dict:
    """Measure one of the two in a process of its own."""
    command = [sys.executable, __file__, "--run", name, "--checkpoint", str(checkpoint)]
    for option in ("upstream", "batch", "steps"):
        command += [f"--{option}", str(getattr(options, option))]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **(more or {})},
    )
    return json.loads(done.stdout.splitlines()[-1])


def write_checkpoint(upstream: str, folder: Path) -> Path:
    """Random weights in the format of WavLM's release."""
    import torch
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    from espnet2_bspmpnet.ssl.architectures import architecture

    options = architecture(upstream)
    options["conv_feature_layers"] = str(options["conv_feature_layers"])
    path = folder / "random.pt"
    weights = WavLM(WavLMConfig(options)).state_dict()
    torch.save({"cfg": options, "model": weights}, path)
    return path


def run(options: argparse.Namespace) -> dict:
    """Train a few steps; return their seconds and the highest memory in bytes."""
    import torch

    build = {"ours": ours, "expert": expert}[options.run]
    torch.manual_seed(0)
    wave = 0.1 * torch.randn(options.batch, SAMPLES)
    features, model, layers, imports = build(options.upstream, options.checkpoint)
    logits = [torch.zeros(layers, requires_grad=True) for _ in range(2)]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam([*parameters, *logits], lr=1e-5)
    seconds = []
    for _ in range(options.steps + 1):  # the first one warms up
        started = time.perf_counter()
        first, second = features(wave, [logit.softmax(0) for logit in logits])
        loss = first.square().mean() + second.abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds[1:], "bytes": peak_bytes() - imports}


def ours(upstream: str, checkpoint: str):
    """The project's frontend: features, model, layers, bytes after the imports."""
    import s3prl.upstream.wavlm.WavLM  # noqa: F401

    from espnet2_bspmpnet.network.fs_ssl import weighted_sums
    from espnet2_bspmpnet.ssl.models import SSLModel

    imports = peak_bytes()
    model = SSLModel(upstream, checkpoint=checkpoint).train()
    model.load_pretrained()

    def features(wave, weights):
        import torch

        layers, _ = model(wave, torch.full((len(wave),), SAMPLES))
        return weighted_sums(layers, weights)

    return features, model, model.num_layers, imports


def expert(upstream: str, checkpoint: str):
    """s3prl's UpstreamExpert, its hidden states stacked; returns what `ours` does."""
    import torch
    from s3prl.upstream.wavlm.expert import UpstreamExpert

    imports = peak_bytes()
    model = UpstreamExpert(checkpoint).train()
    model.model.feature_extractor.requires_grad_(False)
    model.model.mask_emb.requires_grad_(False)

    def features(wave, weights):
        stacked = torch.stack(model(list(wave))["hidden_states"][1:])
        return [(w[:, None, None, None] * stacked).sum(0) for w in weights]

    return features, model, len(model.model.encoder.layers), imports


def peak_bytes() -> int:
    """The highest memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()

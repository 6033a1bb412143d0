"""Seconds a training step takes: forward, loss, backward, update, on random audio.

    python benchmarks/train_step.py egs2/mini/enh1/conf/train_mini.yaml
    GOMP_SPINCOUNT=1000 python benchmarks/train_step.py ...   # as the recipes set it

Compare two settings in one sitting on the same machine, and quote the ratio of medians.
"""

import argparse
import statistics
import time

import torch

from espnet2_bspmpnet.enh.losses import BSPMPNetLoss, BSPMPNetSolver
from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
from espnet2_bspmpnet.files.configurations import read_config


def main() -> None:
    """Time the steps of a configuration's network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="training configuration")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="audio of each item")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    conf = read_config(options.config)["separator_conf"]
    separator = BSPMPNetSeparator(1, **{**conf, "checkpoint": "random"})
    separator.to(options.device).train()
    separator.waveform_in_training = (
        False  # as in training: the loss needs spectra only
    )
    solver = BSPMPNetSolver(BSPMPNetLoss())
    optimizer = torch.optim.Adam(separator.parameters())
    samples = int(options.seconds * 16000)
    noisy = 0.1 * torch.randn(options.batch, samples, device=options.device)
    lengths = torch.full((options.batch,), samples)

    seconds = []
    for _ in range(options.steps + 3):  # the first three warm up
        started = time.perf_counter()
        _, _, others = separator(noisy, lengths)
        loss, _, _ = solver([0.5 * noisy], [], others)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    seconds = sorted(seconds[3:])
    print(
        f"{options.config}: median {statistics.median(seconds):.3f} s a step"
        f" ({seconds[0]:.3f} to {seconds[-1]:.3f}), {options.batch} x"
        f" {options.seconds:g} s, {options.threads} threads, {options.device}"
    )


if __name__ == "__main__":
    main()

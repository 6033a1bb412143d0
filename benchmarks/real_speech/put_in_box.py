"""Put a trained model into the package: its weights, what they need to be read, its data.

    python -m benchmarks.real_speech.put_in_box egs2/mini/enh1/exp/enh_small \\
        --model_file valid.pesq.ave_5best.pth --sources CORPUS/SOURCES.tsv

The model card, box/README.md, is written by hand.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import torch
import yaml
from safetensors.torch import save

from espnet2_bspmpnet.corpora.mixed import read_splits, split_of
from espnet2_bspmpnet.files.atomic import replacing, write_text
from espnet2_bspmpnet.files.configurations import read_config
from espnet2_bspmpnet.inference.models import IN_THE_BOX

KEPT = ("encoder", "decoder", "separator", "separator_conf")
MOST_BYTES = 4 << 20
SPLITS = Path(__file__).with_name("splits.txt")


def put(expdir: Path, model_file: str, box: Path) -> None:
    """Write config.yaml, model.safetensors and meta.yaml, which make a packed model."""
    config = read_config(expdir / "config.yaml")
    kept = {name: config[name] for name in KEPT}
    state = torch.load(expdir / model_file, map_location="cpu", weights_only=True)
    weights = save({name: tensor.contiguous() for name, tensor in state.items()})
    if len(weights) > MOST_BYTES:
        raise SystemExit(f"{len(weights)} bytes are more than the box holds")
    write_text(box / "config.yaml", yaml.safe_dump(kept, sort_keys=False))
    with replacing(box / "model.safetensors") as temporary:
        temporary.write_bytes(weights)
    meta = {
        "yaml_files": {"train_config": "config.yaml"},
        "files": {"model_file": "model.safetensors"},
    }
    write_text(box / "meta.yaml", yaml.safe_dump(meta))


def list_data(sources: Path, path: Path) -> None:
    """List the recordings that training heard by source and licence, with minutes."""
    splits = read_splits(SPLITS)
    minutes: dict[tuple[str, ...], float] = defaultdict(float)
    files: dict[tuple[str, ...], int] = defaultdict(int)
    with sources.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            name = Path(row["path"]).with_suffix("")
            name = name.relative_to(name.parts[0])
            if split_of(splits, name) != "train":
                continue
            key = row["kind"], row["source_repo"], row["licence"]
            minutes[key] += float(row["duration_s"]) / 60
            files[key] += 1
    table = ["kind\tsource\tlicence\tfiles\tminutes\n"]
    for key in sorted(files):
        table.append("\t".join([*key, str(files[key]), f"{minutes[key]:.2f}"]) + "\n")
    write_text(path, "".join(table))


def main() -> None:
    """Put a model into the box."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("expdir", type=Path)
    parser.add_argument("--model_file", default="valid.pesq.best.pth")
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--box", type=Path, default=IN_THE_BOX)
    options = parser.parse_args()
    put(options.expdir, options.model_file, options.box)
    list_data(options.sources, options.box / "DATA.tsv")


if __name__ == "__main__":
    main()

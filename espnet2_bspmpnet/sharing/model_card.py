"""The README.md of a model on the Hugging Face hub."""

from pathlib import Path

import yaml
from jinja2 import StrictUndefined, Template

from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

CARD = "README.md"
GENERATED = ".card"  # the card as it was written, which shows whether it was edited
PAPER = "https://arxiv.org/abs/2503.21571"
TAGS = ["espnet", "audio", "audio-to-audio", "speech-enhancement", "bsp_mpnet"]
LICENSE = "cc-by-4.0"


def model_card(
    repo: str,
    recipe: str,
    config: str,
    results: str,
    made_with: dict[str, str],
    language: str | None = None,
    license: str = LICENSE,
) -> str:
    """Write a card: Markdown, with the hub's metadata before it.

    Args:
        repo: the model's place on the hub, "owner/name".
        recipe: the recipe that made it, "corpus/enh1".
        config: the training configuration, YAML.
        results: RESULTS.md, whose headings get a level lower.
        made_with: name -> version of ESPnet, torch and Python, as packed.
        language: code such as "en", or None where it is not known.
        license: the hub's name of the licence.
    """
    metadata = {
        "tags": TAGS,
        "pipeline_tag": "audio-to-audio",  # by which espnet.load finds the task
        "library_name": "espnet",
        "language": language,
        "datasets": [recipe.partition("/")[0]],
        "license": license,
    }
    known = {name: value for name, value in metadata.items() if value}
    lines = [x for x in results.strip().splitlines() if not x.startswith("<!--")]
    template = Path(__file__).with_suffix(".md.jinja").read_text(encoding="utf-8")
    options = {"undefined": StrictUndefined, "keep_trailing_newline": True}
    return Template(template, **options).render(
        metadata=yaml.safe_dump(known, sort_keys=False),
        repo=repo,
        paper=PAPER,
        recipe=recipe,
        versions=", ".join(f"{name} {version}" for name, version in made_with.items()),
        rate=SAMPLE_RATE,
        results="\n".join(f"#{x}" if x.startswith("#") else x for x in lines),
        config=config.strip(),
    )

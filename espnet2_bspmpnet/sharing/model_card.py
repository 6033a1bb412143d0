"""The README.md of a model on the Hugging Face hub."""

from dataclasses import dataclass

import yaml

from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

PAPER = "https://arxiv.org/abs/2503.21571"
TAGS = ["espnet", "audio", "audio-to-audio", "speech-enhancement", "bsp_mpnet"]
LICENSE = "cc-by-4.0"

_BIBTEX = """\
@article{mattursun2025bspmpnet,
  title={Magnitude-Phase Dual-Path Speech Enhancement Network based on Self-Supervised
    Embedding and Perceptual Contrast Stretch Boosting},
  author={Alimjan Mattursun and Liejun Wang and Yinfeng Yu and Chunyang Ma},
  journal={arXiv:2503.21571},
  year={2025}
}
@inproceedings{li2021espnetse,
  title={{ESPnet-SE}: End-To-End Speech Enhancement and Separation Toolkit Designed for
    {ASR} Integration},
  author={Chenda Li and Jing Shi and Wangyou Zhang and Aswin Shanmugam Subramanian and
    Xuankai Chang and Naoyuki Kamo and Moto Hira and Tomoki Hayashi and Christoph
    Boeddeker and Zhuo Chen and Shinji Watanabe},
  booktitle={Proceedings of IEEE Spoken Language Technology Workshop (SLT)},
  pages={785--792},
  year={2021}
}
@inproceedings{watanabe2018espnet,
  title={{ESPnet}: End-to-End Speech Processing Toolkit},
  author={Shinji Watanabe and Takaaki Hori and Shigeki Karita and Tomoki Hayashi and
    Jiro Nishitoba and Yuya Unno and Nelson {Enrique Yalta Soplin} and Jahn Heymann and
    Matthew Wiesner and Nanxin Chen and Adithya Renduchintala and Tsubasa Ochiai},
  booktitle={Proceedings of Interspeech},
  pages={2207--2211},
  year={2018}
}
"""


@dataclass(frozen=True)
class Card:
    """What a model card tells.

    Attributes:
        repo: the model's place on the hub, "owner/name".
        recipe: the recipe that made it, "corpus/enh1".
        config: the training configuration, YAML.
        results: RESULTS.md.
        made_with: name -> version of ESPnet, torch and Python, as packed.
        language: code such as "en", or None where it is not known.
        license: the hub's name of the licence.
    """

    repo: str
    recipe: str
    config: str
    results: str
    made_with: dict[str, str]
    language: str | None = None
    license: str = LICENSE

    @property
    def corpus(self) -> str:
        """Name of the recipe's corpus."""
        return self.recipe.partition("/")[0]

    def text(self) -> str:
        """Lay the card out as Markdown with the hub's metadata before it."""
        parts = [self._front_matter(), f"# {self.repo}\n", self._summary()]
        parts += [self._use(), self._evaluation(), self._results(), self._config()]
        parts += [self._citations()]
        return "\n".join(parts)

    def _front_matter(self) -> str:
        # espnet.load finds the task by pipeline_tag.
        metadata = {
            "tags": TAGS,
            "pipeline_tag": "audio-to-audio",
            "library_name": "espnet",
            "language": self.language,
            "datasets": [self.corpus],
            "license": self.license,
        }
        known = {name: value for name, value in metadata.items() if value}
        return f"---\n{yaml.safe_dump(known, sort_keys=False)}---\n"

    def _summary(self) -> str:
        versions = ", ".join(
            f"{name} {value}" for name, value in self.made_with.items()
        )
        return (
            f"Speech enhancement by [BSP-MPNet]({PAPER}), an ESPnet2 model of the"
            f" plug-in `espnet2_bspmpnet`, trained by its recipe `{self.recipe}`"
            + (f" with {versions}" if versions else "")
            + f". It takes and gives speech of one channel at {SAMPLE_RATE} Hz.\n"
        )

    def _use(self) -> str:
        return (
            "## How to use it\n\n"
            "In a clone of the plug-in `espnet2_bspmpnet`:\n\n"
            "```sh\nmake install && source .venv/bin/activate\n```\n\n"
            "```python\n"
            "import espnet2_bspmpnet, soundfile\n"
            "from espnet2.bin.enh_inference import SeparateSpeech\n"
            f'enhance = SeparateSpeech.from_pretrained("{self.repo}")\n'
            "```\n\n"
            "The import makes ESPnet know the model. Then, for example,\n\n"
            "```python\n"
            'noisy, rate = soundfile.read("noisy.wav")  # 16 kHz\n'
            "(enhanced,) = enhance(noisy[None], fs=rate)\n"
            'soundfile.write("enhanced.wav", enhanced[0], rate)\n'
            "```\n"
        )

    def _evaluation(self) -> str:
        return (
            "To enhance and score a recipe's test set with it, in a clone of"
            " the plug-in:\n\n"
            f"```sh\ncd egs2/{self.recipe}\n"
            f"./run.sh --stop_stage 8 --skip_train true --download_model {self.repo}\n"
            "```\n"
        )

    def _results(self) -> str:
        lines = self.results.strip().splitlines()
        lines = [line for line in lines if not line.startswith("<!--")]
        nested = [f"#{line}" if line.startswith("#") else line for line in lines]
        return "\n".join(nested) + "\n"

    def _config(self) -> str:
        return (
            "## Training configuration\n\n<details><summary>expand</summary>\n\n"
            f"```yaml\n{self.config.strip()}\n```\n\n</details>\n"
        )

    def _citations(self) -> str:
        return (
            "## Citations\n\n"
            "The model, ESPnet-SE and ESPnet:\n\n"
            f"```bibtex\n{_BIBTEX}```\n"
        )

"""The page shows all that an experiment has, by itself, and says what is missing."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet import cli
from espnet2_bspmpnet.data.datadir import write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.report import contents, figures
from espnet2_bspmpnet.report.experiment import (
    Absent,
    find_model,
    find_test_sets,
    input_snr,
    read_curves,
    read_layer_weights,
)
from espnet2_bspmpnet.report.page import write_report
from espnet2_bspmpnet.scoring.files import Row, Scores, Summary, statistics
from tests.speech import noisy as add_noise
from tests.speech import speechlike

RATE = 8000
IDS = ["u1", "u2", "u3", "u4"]
NOISY = {"PESQ": [1.0, 1.5, 2.0, 2.5], "SI_SNR": [0.0, 5.0, 0.0, 5.0]}
OURS = {"PESQ": [1.4, 2.5, 2.2, 2.4], "SI_SNR": [9.0, 9.0, 9.0, None]}
PREFIX = "separator.bsp_mpnet.fs_ssl.layer_weights"


def write_scores(folder: Path, system: str, reference: str, columns: dict) -> None:
    """Write scores of the four utterances: metric -> values, None for undefined."""
    rows = []
    for place, utterance in enumerate(IDS):
        values = {name: column[place] for name, column in columns.items()}
        reasons = {name: "silent" for name, value in values.items() if value is None}
        values = {name: value for name, value in values.items() if value is not None}
        rows.append(Row(utterance, values, reasons))
    summary = Summary(
        reference, system, "tt", len(IDS), [], statistics(rows, list(columns))
    )
    Scores(rows, summary).write(folder)


def write_audio(folder: Path, snr: float | None) -> dict[str, Path]:
    """Write the four utterances, with noise unless the SNR is None."""
    folder.mkdir(parents=True)
    for number, utterance in enumerate(IDS):
        wave = speechlike(0.8, RATE, number)
        if snr is not None:
            wave = add_noise(wave, snr, number)
        soundfile.write(folder / f"{utterance}.wav", wave, RATE, subtype="FLOAT")
    return {utterance: folder / f"{utterance}.wav" for utterance in IDS}


def write_training(expdir: Path) -> None:
    """Write a model, a checkpoint and a configuration as ESPnet does."""
    import torch

    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    paths = zip(("magnitude", "phase"), logits)
    model = {f"{PREFIX}.{name}.logits": values for name, values in paths}
    torch.save({**model, "separator.other": torch.zeros(3)}, expdir / "2epoch.pth")
    (expdir / "valid.pesq.best.pth").symlink_to("2epoch.pth")
    stats = {
        epoch: {
            "train": {"loss": 1.0 / epoch, "phase_loss": 0.5, "time": {"s": 1.0}},
            "valid": {"loss": 2.0 / epoch, "si_snr_loss": -epoch, "pesq": 1 + epoch},
        }
        for epoch in (1, 2, 3)
    }
    states = {"reporter": {"epoch": 3, "stats": stats}}
    torch.save(states, expdir / "checkpoint.pth")
    (expdir / "config.yaml").write_text(
        "config: conf/train.yaml\n"
        "best_model_criterion: [[valid, pesq, max], [valid, loss, min]]\n"
        "separator_conf: {layers: [9, 3, 6]}\n"
    )


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """A recipe's folder with a scored experiment exp/mine of the test set tt."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "dump/raw/tt"
    expdir = tmp_path / "exp/mine"
    write_scores(data / "scoring/noisy", "noisy", "clean", NOISY)
    enhanced = write_audio(tmp_path / "audio/enhanced", snr=20.0)
    for name in ("enhanced_tt", "enhanced_tt_boosted"):
        for reference in ("clean", "pcs"):
            folder = expdir / name / "scoring" / f"reference_{reference}"
            write_scores(folder, "enhanced", reference, OURS)
        write_scp(expdir / name / "spk1.scp", enhanced)
    write_scp(data / "wav.scp", write_audio(tmp_path / "audio/noisy", snr=5.0))
    write_scp(data / "spk1.scp", write_audio(tmp_path / "audio/clean", snr=None))
    write_scp(tmp_path / "dump/raw/tr/wav.scp", {"other": "other.wav"})
    write_training(expdir)
    return tmp_path


@pytest.fixture
def undrawn(recipe, monkeypatch) -> Path:
    """The same, where drawing is left out: for what a page says."""
    monkeypatch.setattr(figures, "png", lambda figure: b"PNG")
    return recipe


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        """The attributes of all such tags."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def left_out(self) -> list[str]:
        """What it says is missing."""
        return re.findall(r"<p class=absent>Left out: (.*?)\.</p>", self.source)


def decoded(uri: str) -> tuple[str, bytes]:
    """Split a data URI into its type and content."""
    kind, content = re.fullmatch(r"data:([\w/]+);base64,(.*)", uri).groups()
    return kind, base64.b64decode(content)


def test_a_whole_experiment_is_shown_in_one_page_that_needs_nothing_else(recipe):
    path = write_report("exp/mine")
    assert path == Path("exp/mine/report/index.html")
    page = Page(path)
    assert page.left_out == []
    images, players = page.all("img"), page.all("audio")
    # Two of PESQ, three of improvements, three times four spectrograms, the layers,
    # four curves.
    assert (len(images), len(players)) == (2 + 3 + 12 + 1 + 4, 12)
    # All is inside: nothing is loaded from elsewhere.
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "poster", "srcset"):
            assert attributes.get(name, "data:").startswith(("data:", "#")), tag
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    outside_of_data = re.sub(r'"data:[^"]*"', "", page.source)
    assert not re.search(r"https?://|url\(|@import", outside_of_data)
    # Its figures lie beside it, the same.
    files = {file.read_bytes() for file in path.parent.glob("*.png")}
    assert len(list(path.parent.iterdir())) == len(images) + 1
    assert files == {decoded(image["src"])[1] for image in images}


def test_the_page_can_be_read_without_seeing_it(undrawn):
    page = Page(write_report("exp/mine"))
    assert page.all("html") == [{"lang": "en"}]
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert all(len(player["aria-label"]) > 20 for player in page.all("audio"))
    assert {cell["scope"] for cell in page.all("th")} == {"row", "col"}
    anchors = [heading["id"] for heading in page.all("h2")]
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in anchors]
    assert len(page.all("h1")) == 1


def test_its_tables_are_those_of_the_results(undrawn):
    source = Page(write_report("exp/mine")).source
    assert "<h3>Reference: clean speech</h3>" in source
    assert "<h3>Reference: PCS of the clean speech</h3>" in source
    # Means of PESQ and SI-SNR, the best in bold, and what a mean leaves out.
    row = "<td>1.75</td><td>2.50</td>"
    assert f"<tr><th scope=row>noisy_tt</th>{row}</tr>" in source
    row = "<td><strong>2.12</strong></td><td><strong>9.00</strong></td>"
    assert f"<tr><th scope=row>enhanced_tt</th>{row}</tr>" in source
    assert (
        "undefined for 1 of 4 utterances, which means leave out (silent: 1)" in source
    )
    assert "<summary>Improvement over noisy_tt</summary>" in source
    assert "PESQ<b>1.75 → 2.12</b>" in source


def test_best_median_and_worst_are_by_the_improvement_in_pesq(undrawn):
    (test_set,) = find_test_sets("exp/mine")
    chosen = contents.choose_examples(test_set)
    named = {which: test_set.utterances[place] for which, place in chosen.items()}
    assert named == {"Best": "u2", "Median": "u3", "Worst": "u4"}
    source = Page(write_report("exp/mine")).source
    assert "<h3>Best: u2</h3>\n<p>PESQ 1.50 → 2.50 (+1.00).</p>" in source


def test_players_hold_the_recordings(undrawn):
    page = Page(write_report("exp/mine"))
    first = page.all("audio")[:4]
    said = [re.search("the (.*) speech of u2", one["aria-label"])[1] for one in first]
    assert said == ["noisy", "enhanced", "enhanced boosted", "clean"]
    names = ("noisy", "enhanced", "enhanced", "clean")
    truths = [soundfile.read(f"audio/{name}/u2.wav")[0] for name in names]
    # All four are turned down alike where one of them would clip.
    gain = min(1.0, 0.999 / max(np.abs(truth).max() for truth in truths))
    for player, truth in zip(first, truths):
        kind, content = decoded(player["src"])
        assert kind == "audio/flac"
        wave, rate = soundfile.read(io.BytesIO(content))
        assert rate == RATE
        np.testing.assert_allclose(wave, gain * truth, atol=1e-4)


def test_long_recordings_are_shortened_and_it_is_said(undrawn, monkeypatch):
    monkeypatch.setattr(contents, "LONGEST", 0.5)
    page = Page(write_report("exp/mine"))
    assert "The first 0.5 of 0.8 s." in page.source
    wave, _ = soundfile.read(io.BytesIO(decoded(page.all("audio")[0]["src"])[1]))
    assert len(wave) == RATE // 2


def test_the_snr_is_the_corpus_own_or_computed(undrawn):
    (test_set,) = find_test_sets("exp/mine")
    np.testing.assert_allclose(input_snr(test_set), 5.0, atol=0.01)
    write_scp("dump/raw/tt/utt2snr", {"u1": 2.5, "u2": 7.5, "u3": -1})
    snr = input_snr(test_set)
    np.testing.assert_array_equal(snr, [2.5, 7.5, -1.0, np.nan])
    write_scp("dump/raw/tt/utt2snr", {"u1": "loud"})
    with pytest.raises(UserError, match="utt2snr: .*'loud'; write numbers"):
        input_snr(test_set)


def test_layer_weights_are_the_softmax_of_the_best_model(undrawn):
    model = find_model("exp/mine")
    assert model.name == "valid.pesq.best.pth"
    weights = read_layer_weights(model, {"separator_conf": {"layers": [9, 3, 6]}})
    assert weights.layers == [3, 6, 9]
    expected = np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum()
    np.testing.assert_allclose(weights.paths["magnitude"], expected, rtol=1e-6)
    np.testing.assert_allclose(weights.paths["phase"], expected[::-1], rtol=1e-6)
    assert read_layer_weights(model, {}).layers == [1, 2, 3]
    caption = "valid.pesq.best.pth. Heaviest layer: magnitude 3, phase 9."
    assert f"<figcaption>{caption}" in Page(write_report("exp/mine")).source


def test_curves_are_what_training_reported(undrawn):
    curves = read_curves("exp/mine")
    assert curves["loss"]["valid"] == [(1, 2.0), (2, 1.0), (3, 2.0 / 3)]
    assert curves["pesq"] == {"valid": [(1, 2.0), (2, 3.0), (3, 4.0)]}
    assert "time" not in curves
    source = Page(write_report("exp/mine")).source
    assert "SI-SNR (validation, dB) by epoch; in the last epoch valid 3." in source


def test_what_an_experiment_does_not_have_is_told(undrawn):
    for path in ("checkpoint.pth", "valid.pesq.best.pth", "config.yaml"):
        Path("exp/mine", path).unlink()
    (undrawn / "dump").rename(undrawn / "elsewhere")
    page = Page(write_report("exp/mine"))
    assert page.left_out == [
        "the noisy speech was not scored (bspmpnet score --noisy)",
        "the noisy recordings were not found (--data_dir names them)",
        "the noisy speech was not scored (bspmpnet score --noisy)",
        "there is no trained model exp/mine/valid.*.best.pth",
        "there is no exp/mine/checkpoint.pth, in which training keeps its log",
    ]
    assert "enhanced_tt_boosted" in page.source and page.all("img") == []
    # Named, the data are found again.
    page = Page(write_report("exp/mine", ["elsewhere/raw/tt"]))
    assert len(page.left_out) == 2 and len(page.all("audio")) == 12


def test_recordings_that_are_gone_are_told_one_by_one(undrawn):
    Path("audio/clean/u2.wav").unlink()
    write_scp("dump/raw/tt/utt2snr", dict.fromkeys(IDS, 5))
    page = Page(write_report("exp/mine"))
    gone = undrawn / "audio/clean/u2.wav"
    assert page.left_out == [f"clean speech, as {gone} is gone"]
    assert len(page.all("audio")) == 11


def test_names_cannot_break_the_page(undrawn):
    Path("exp/mine").rename("exp/<b>&$x")
    page = Page(write_report("exp/<b>&$x"))
    assert page.all("b") == [{}] * 2  # the two figures at the top
    assert "<h1>&lt;b&gt;&amp;$x: speech enhancement</h1>" in page.source


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda: Path("exp/mine").rename("exp/other"), "exp/mine: no such folder"),
        (
            lambda: [path.unlink() for path in Path("exp").rglob("summary.json")],
            r"summary.json: no such file; score first",
        ),
        (
            lambda: Path("exp/mine/checkpoint.pth").write_bytes(b"PK torn"),
            r"checkpoint.pth: damaged \(.*\); remove it, and train again",
        ),
        (
            lambda: Path("exp/mine/2epoch.pth").write_bytes(b""),
            r"valid.pesq.best.pth: damaged \(.*\); copy it again",
        ),
        (
            lambda: Path("audio/enhanced/u2.wav").write_bytes(b"RIFF torn"),
            "u2.wav: cannot be read as audio",
        ),
        (
            lambda: Path("exp/mine/config.yaml").write_text("a: ["),
            "config.yaml: not valid YAML",
        ),
    ],
)
def test_bad_input_is_an_error_that_names_the_file(undrawn, spoil, message):
    spoil()
    with pytest.raises(UserError, match=message):
        write_report("exp/mine")
    assert not Path("exp/mine/report/index.html").exists()


def test_a_data_directory_of_other_utterances_is_refused(undrawn):
    with pytest.raises(UserError, match="dump/raw/tr: has other utterances than"):
        write_report("exp/mine", ["dump/raw/tt", "dump/raw/tr"])


def test_a_model_without_such_weights_and_a_missing_one(undrawn):
    import torch

    torch.save({"separator.other": torch.zeros(3)}, "exp/mine/plain.pth")
    with pytest.raises(Absent, match="plain.pth has no weights of SSL layers"):
        read_layer_weights(find_model("exp/mine", "plain.pth"), {})
    with pytest.raises(UserError, match="none.pth: no such model"):
        write_report("exp/mine", model="none.pth")


def test_the_command_writes_the_page_and_names_it(undrawn, capsys):
    words = ["--data_dir", "dump/raw/tt", "--inference_model", "2epoch.pth"]
    assert cli.main(["report", "exp/mine", *words]) == 0
    assert capsys.readouterr().out == "exp/mine/report/index.html\n"
    assert (
        "2epoch.pth. Heaviest layer" in Path("exp/mine/report/index.html").read_text()
    )
    assert cli.main(["report", "exp/none"]) == 1
    assert "exp/none: no such folder" in capsys.readouterr().err

"""The page shows all that an experiment has, by itself, and says what is missing."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet import cli
from espnet2_bspmpnet.data.datadir import write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.report import examples
from espnet2_bspmpnet.report.experiment import write_report
from tests.pages import ParsedPage, decoded
from tests.report.conftest import IDS, RATE


def test_a_whole_experiment_is_shown_in_one_page_that_needs_nothing_else(recipe):
    path = write_report("exp/mine")
    assert path == Path("exp/mine/report/index.html")
    page = ParsedPage(path)
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
    page = ParsedPage(write_report("exp/mine"))
    assert page.all("html") == [{"lang": "en"}]
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert all(len(player["aria-label"]) > 20 for player in page.all("audio"))
    assert {cell["scope"] for cell in page.all("th")} == {"row", "col"}
    anchors = [heading["id"] for heading in page.all("h2")]
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in anchors]
    assert len(page.all("h1")) == 1


def test_its_tables_are_those_of_the_results(undrawn):
    source = ParsedPage(write_report("exp/mine")).source
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


def test_it_says_in_words_what_its_figures_show(undrawn):
    source = ParsedPage(write_report("exp/mine")).source
    assert "<h3>Best: u2</h3>\n<p>PESQ 1.50 → 2.50 (+1.00).</p>" in source
    caption = "valid.pesq.best.pth. Heaviest layer: magnitude 3, phase 9."
    assert f"<figcaption>{caption}" in source
    assert "SI-SNR (validation, dB) by epoch; in the last epoch valid 3." in source


def test_players_hold_the_recordings(undrawn):
    page = ParsedPage(write_report("exp/mine"))
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
    monkeypatch.setattr(examples, "LONGEST", 0.5)
    page = ParsedPage(write_report("exp/mine"))
    assert "The first 0.5 of 0.8 s." in page.source
    wave, _ = soundfile.read(io.BytesIO(decoded(page.all("audio")[0]["src"])[1]))
    assert len(wave) == RATE // 2


def test_what_an_experiment_does_not_have_is_named(undrawn):
    for path in ("checkpoint.pth", "valid.pesq.best.pth", "config.yaml"):
        Path("exp/mine", path).unlink()
    (undrawn / "dump").rename(undrawn / "elsewhere")
    page = ParsedPage(write_report("exp/mine"))
    assert page.left_out == [
        "the noisy speech was not scored (bspmpnet score --noisy)",
        "the noisy recordings were not found (--data_dir names them)",
        "the noisy speech was not scored (bspmpnet score --noisy)",
        "there is no trained model exp/mine/valid.*.best.pth",
        "there is no exp/mine/checkpoint.pth, in which training keeps its log",
    ]
    assert "enhanced_tt_boosted" in page.source and page.all("img") == []
    # Named, the data are found again.
    page = ParsedPage(write_report("exp/mine", ["elsewhere/raw/tt"]))
    assert len(page.left_out) == 2 and len(page.all("audio")) == 12


def test_recordings_that_are_gone_are_named_one_by_one(undrawn):
    Path("audio/clean/u2.wav").unlink()
    write_scp("dump/raw/tt/utt2snr", dict.fromkeys(IDS, 5))
    page = ParsedPage(write_report("exp/mine"))
    gone = undrawn / "audio/clean/u2.wav"
    assert page.left_out == [f"clean speech, as {gone} is gone"]
    assert len(page.all("audio")) == 11


def test_names_cannot_break_the_page(undrawn):
    Path("exp/mine").rename("exp/<b>&$x")
    page = ParsedPage(write_report("exp/<b>&$x"))
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


def test_a_model_that_is_not_there_is_an_error(undrawn):
    with pytest.raises(UserError, match="none.pth: no such model"):
        write_report("exp/mine", model="none.pth")


def test_a_data_directory_of_other_utterances_is_refused(undrawn):
    with pytest.raises(UserError, match="dump/raw/tr: has other utterances than"):
        write_report("exp/mine", ["dump/raw/tt", "dump/raw/tr"])


def test_the_command_writes_the_page_and_names_it(undrawn, capsys):
    words = ["--data_dir", "dump/raw/tt", "--inference_model", "2epoch.pth"]
    assert cli.main(["report", "exp/mine", *words]) == 0
    assert capsys.readouterr().out == "exp/mine/report/index.html\n"
    assert (
        "2epoch.pth. Heaviest layer" in Path("exp/mine/report/index.html").read_text()
    )
    assert cli.main(["report", "exp/none"]) == 1
    assert "exp/none: no such folder" in capsys.readouterr().err

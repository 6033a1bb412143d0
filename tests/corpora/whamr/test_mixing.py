"""WHAMR! is generated as the published scripts do."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.corpora.whamr.lists import read_mixtures
from espnet2_bspmpnet.corpora.whamr.mixing import SIGNALS, generate
from espnet2_bspmpnet.corpora.whamr.wsj0 import find_speech
from espnet2_bspmpnet.errors import UserError
from tests.file_server import serving
from tests.miniatures.whamr import COUNTS, FEW, LISTS, generate_from
from tests.processes import wait_until

pytest.importorskip("pyroomacoustics", reason="the extra [whamr] is not installed")


def audio(folder: Path) -> dict[str, np.ndarray]:
    """Read every file below a folder, by its relative path."""
    return {
        str(path.relative_to(folder)): soundfile.read(path, dtype="float32")[0]
        for path in sorted(folder.rglob("*.wav"))
    }


def equal(some: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> bool:
    return some.keys() == others.keys() and all(
        np.array_equal(some[path], others[path]) for path in some
    )


@pytest.fixture(scope="module", params=["min", "max"])
def made(request, sources, tree):
    """Each mixture with its signals: the min, then the max version."""
    mode = request.param
    speech = None
    utterances = []
    for split in COUNTS:
        mixtures = read_mixtures(sources / LISTS, sources / "wham_noise", split, mode)
        speech = find_speech(
            sources / "csr_1",
            [path for m in mixtures for path in (m.speech, m.other)],
        )
        for mixture in mixtures:
            folder = tree / "wav16k" / mode / split
            signals = {s: soundfile.read(folder / s / mixture.name)[0] for s in SIGNALS}
            recordings = [
                soundfile.read(speech[path])[0]
                for path in (mixture.speech, mixture.other)
            ]
            noise = soundfile.read(sources / "wham_noise" / split / mixture.name)[0]
            utterances.append((mixture, signals, recordings, noise))
    return mode, utterances


def test_the_tree_is_that_of_the_published_scripts(tree):
    for mode in ("min", "max"):
        folders = [
            f"{split}/{signal}" for split in ("cv", "tr", "tt") for signal in SIGNALS
        ]
        top = tree / "wav16k" / mode
        assert sorted(str(p.relative_to(top)) for p in top.glob("*/*")) == sorted(
            folders
        )
        for folder in folders:
            files = list((top / folder).glob("*.wav"))
            assert len(files) == COUNTS[folder[:2]]
            infos = [soundfile.info(file) for file in files]
            assert {(i.samplerate, i.channels, i.subtype) for i in infos} == {
                (16000, 1, "FLOAT")
            }


def test_a_mixture_is_the_sum_of_speech_and_noise(made):
    for _, signals, _, _ in made[1]:
        for room in ("anechoic", "reverb"):
            total = signals[f"s1_{room}"] + signals["noise"]
            assert np.allclose(signals[f"mix_single_{room}"], total, atol=1e-7)


def test_noise_is_the_left_channel_beside_the_speech_at_the_lists_gain(made):
    mode, utterances = made
    for mixture, signals, recordings, noise in utterances:
        left = noise[:, 0] * mixture.noise_gain
        if mode == "min":
            left = left[mixture.start :][: min(map(len, recordings))]
        assert np.allclose(signals["noise"], left, atol=1e-7)


def test_speech_has_the_lists_level_and_only_the_rooms_differ(made):
    mode, utterances = made
    for mixture, signals, recordings, _ in utterances:
        gained = recordings[0] * mixture.wsjmix_gain * mixture.speech_gain
        anechoic = signals["s1_anechoic"]
        if mode == "min":  # the end may be cut off
            gained = gained[: len(anechoic)]
        level = 10 * np.log10(np.sum(anechoic**2) / np.sum(gained**2))
        assert level == pytest.approx(0, abs=0.1)
        change = np.sum((signals["s1_reverb"] - anechoic) ** 2) / np.sum(anechoic**2)
        assert 0.001 < change < 4


def test_target_and_reverberant_speech_are_aligned(made):
    for _, signals, _, _ in made[1]:
        anechoic, reverb = signals["s1_anechoic"], signals["s1_reverb"]
        with_room, without = np.fft.rfft([reverb, anechoic], 2 * len(reverb))
        floor = 1e-3 * np.mean(abs(without) ** 2)
        response = with_room * without.conj() / (abs(without) ** 2 + floor)
        assert np.argmax(np.fft.irfft(response)) == 0  # of no delay
        first = np.argmax(np.abs(anechoic) > 1e-5)
        assert np.allclose(reverb[: first + 40], anechoic[: first + 40], atol=1e-4)


def test_min_is_a_part_of_max_at_its_own_gain(sources, tree):
    for split in COUNTS:
        both = (
            read_mixtures(sources / LISTS, sources / "wham_noise", split, mode)
            for mode in ("min", "max")
        )
        for short, long in zip(*both, strict=True):
            for signal in SIGNALS:
                part, whole = (
                    soundfile.read(tree / "wav16k" / mode / split / signal / long.name)[
                        0
                    ]
                    for mode in ("min", "max")
                )
                assert short.noise_gain > long.noise_gain
                part = part * long.noise_gain / short.noise_gain
                there = whole[long.start : long.start + len(part)]
                assert len(part) < len(whole) - long.start
                assert np.allclose(there, part, atol=1e-4)


def test_killed_and_run_again_by_two_processes_it_is_as_if_undisturbed(
    tree, sources, tmp_path
):
    command = [sys.executable, "-m", "espnet2_bspmpnet.cli", "whamr_generate"]
    for name in ("wsj0", "wham_noise", "lists"):
        command += [f"--{name}", str(generate_from(sources)[name])]
    for name, split in (("train", "tr"), ("valid", "cv"), ("test", "tt")):
        command += [f"--num_{name}", str(COUNTS[split])]
    command += ["--whamr_dir", str(tmp_path), "--nj", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until(lambda: list(tmp_path.rglob("*.wav")), seconds=60)
    process.kill()
    process.wait()
    early = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("noise/*.wav")}
    assert len(early) < sum(COUNTS.values())

    generate(**generate_from(sources), whamr_dir=tmp_path, nj=2)
    assert equal(audio(tmp_path / "wav16k/min"), audio(tree / "wav16k/min"))
    assert not list(tmp_path.rglob("*.tmp"))
    whole = [p for p in early if (p.parents[1] / SIGNALS[-1] / p.name) in early]
    assert all(path.stat().st_mtime_ns == early[path] for path in whole)


def test_a_complete_tree_is_not_touched_again(own_tree, sources):
    before = {path: path.stat().st_mtime_ns for path in own_tree.rglob("*.wav")}
    generate(**generate_from(sources), whamr_dir=own_tree)
    after = {path: path.stat().st_mtime_ns for path in own_tree.rglob("*.wav")}
    assert after == before


def test_what_is_free_is_downloaded_and_kept(few, tmp_path):
    archives = {"whamr_scripts.tar.gz": BytesIO(), "wham_noise.zip": BytesIO()}
    with tarfile.open(fileobj=archives["whamr_scripts.tar.gz"], mode="w:gz") as tar:
        tar.add(few / "whamr_scripts", "whamr_scripts")
    with zipfile.ZipFile(archives["wham_noise.zip"], "w") as archive:
        for path in (few / "wham_noise").rglob("*"):
            archive.write(path, path.relative_to(few))
    made = {"wsj0": few / "csr_1", "counts": FEW, "download_dir": tmp_path / "down"}
    with serving({name: file.getvalue() for name, file in archives.items()}) as server:
        generate(**made, whamr_dir=tmp_path / "tree", url=server.url)
        assert [name for name, _ in server.requests] == list(archives)
    generate(**made, whamr_dir=tmp_path / "again")
    generate(**generate_from(few, counts=FEW), whamr_dir=tmp_path / "given")
    given = audio(tmp_path / "given")
    assert equal(audio(tmp_path / "tree"), given)
    assert equal(audio(tmp_path / "again"), given)


def test_wsj0_is_looked_for_before_the_noise_is_downloaded(few, tmp_path):
    shutil.rmtree(few / "csr_1/11-1.1")
    with (
        serving({}) as server,
        pytest.raises(UserError, match="is not WSJ0|recordings are missing"),
    ):
        generate(
            **generate_from(few, counts=FEW, wham_noise=None),
            whamr_dir=tmp_path / "tree",
            download_dir=tmp_path,
            url=server.url,
        )
    assert not (tmp_path / "tree").exists()


def test_a_damaged_list_is_named_before_anything_is_written(few, tmp_path):
    (few / LISTS / "reverb_params_cv.csv").unlink()
    with pytest.raises(UserError, match="reverb_params_cv.csv: no such list"):
        generate(**generate_from(few, counts=FEW), whamr_dir=tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def resound(path: Path, rate: int) -> None:
    wave, _ = soundfile.read(path)
    soundfile.write(path, wave, rate, format="NIST" if path.suffix == ".wv1" else None)


@pytest.mark.parametrize(
    "pattern, damage, message",
    [
        ("wham_noise/tr/01*", Path.unlink, "1 noise files are missing.*tr/01"),
        ("wham_noise/cv", shutil.rmtree, "cv: no such folder.*wham_noise.zip"),
        ("wham_noise/tr/01*", lambda path: resound(path, 48000), "48000 Hz in place"),
        (
            "wham_noise/tr/01*",
            lambda path: path.write_bytes(path.read_bytes()[:20000]),
            "truncated",
        ),
        (
            "wham_noise/tr/01*",
            lambda path: soundfile.write(path, np.zeros((9000, 2)), 16000),
            "has 9000 samples, but .* are needed",
        ),
        ("csr_1/11-1.1/wsj0/si_tr_s/01t/*00at.wv1", Path.unlink, "1 recordings are"),
        (
            "csr_1/11-1.1/wsj0/si_tr_s/01t/*00at.wv1",
            lambda path: resound(path, 8000),
            "8000 Hz in place of 16000",
        ),
        (
            "csr_1/11-1.1/wsj0/si_tr_s/01t/*00at.wv1",
            lambda path: path.write_bytes(path.read_bytes()[:20000]),
            "truncated",
        ),
    ],
)
def test_audio_that_is_missing_or_damaged_is_named(
    few, tmp_path, pattern, damage, message
):
    (path,) = few.glob(pattern)
    damage(path)
    with pytest.raises(UserError, match=message):
        generate(**generate_from(few, counts=FEW), whamr_dir=tmp_path / "tree")


def test_numbers_are_those_of_the_published_lists_unless_said(few, tmp_path):
    made = generate_from(few)
    del made["counts"]
    with pytest.raises(UserError, match=r"3 utterances for tr in place of 20000"):
        generate(**made, whamr_dir=tmp_path / "tree")


def test_too_little_space_is_reported_before_anything_is_written(
    few, tmp_path, monkeypatch
):
    usage = shutil._ntuple_diskusage(10**6, 10**6, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="WHAMR! needs 2 MB .* 0 MB are free; .*disk"):
        generate(**generate_from(few, counts=FEW), whamr_dir=tmp_path / "tree")
    assert not list((tmp_path / "tree").rglob("*.wav"))


def test_a_tree_of_other_lists_is_not_mixed_with(few, own_tree):
    with pytest.raises(UserError, match="holds audio that other lists"):
        generate(**generate_from(few, counts=FEW), whamr_dir=own_tree)
    with pytest.raises(UserError, match="mode 'mid' is unknown; use min or max"):
        generate(**generate_from(few, counts=FEW), whamr_dir=own_tree, mode="mid")

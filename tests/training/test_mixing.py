"""Noisy speech mixed in training: what each option does to speech, noise and reference."""

import pickle
import re
from dataclasses import fields

import numpy as np
import pytest
import soundfile
import yaml

from espnet2_bspmpnet.data.speech_level import active_power
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.training.mixing import (
    DynamicMixing,
    crop,
    crop_start,
    equalise,
    low_pass,
    read_list,
    read_part,
)
from tests.speech import measure_snr, speechlike

RATE = 16000
EVERYTHING = {
    "second_noise_prob": 0.5,
    "noise_speed_range": [0.7, 1.4],
    "noise_equaliser_db": 5.0,
    "speech_equaliser_db": 2.0,
    "reverb_prob": 0.5,
    "clipping_prob": 0.5,
    "band_limit_prob": 0.5,
}


@pytest.fixture
def put(tmp_path):
    """Return a function that writes a file at 16 kHz, and returns its path."""

    def put(name, wave, rate=RATE):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, wave, rate, subtype="FLOAT")
        return str(path)

    return put


@pytest.fixture
def hiss(put):
    """A file of two seconds of white noise."""
    return put("hiss", white(2))


@pytest.fixture
def tones(put):
    """Files of 440 and of 3000 Hz."""
    return [put(f"tone{hertz}", tone(hertz, 3)) for hertz in (440, 3000)]


def white(seconds, seed=0):
    noise = np.random.default_rng(seed).standard_normal(int(RATE * seconds))
    return (0.1 * noise).astype(np.float32)


def tone(hertz, seconds=1.0):
    time = np.arange(int(RATE * seconds)) / RATE
    return (0.1 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def speech(seconds=1.0):
    return speechlike(seconds).astype(np.float32)


def draws(mixing, clean, number):
    """Mix some times; noisy speech and reference of each."""
    return [mixing(clean, np.random.default_rng(seed)) for seed in range(number)]


def level_at(wave, hertz):
    """Amplitude at a frequency, where the wave has whole periods of it."""
    return 2 * np.abs(np.fft.rfft(wave)[hertz * len(wave) // RATE]) / len(wave)


def loudest(wave):
    """The frequency in Hz that has most."""
    return np.abs(np.fft.rfft(wave)).argmax() * RATE / len(wave)


# Noise


def test_the_snr_is_drawn_from_its_range_and_is_that_of_active_speech(hiss):
    mixing = DynamicMixing([-5, 20], [hiss])
    snrs = [measure_snr(clean, noisy) for noisy, clean in draws(mixing, speech(), 200)]
    assert -5.01 < min(snrs) < -3 and 18 < max(snrs) < 20.01
    assert np.mean(snrs) == pytest.approx(7.5, abs=1.5)


def test_the_snr_is_reached_whatever_is_done_to_speech_and_noise(hiss, tones):
    options = {**EVERYTHING, "reverb_prob": 0, "clipping_prob": 0}
    mixing = DynamicMixing([5, 5], [hiss, *tones], **options)
    for noisy, clean in draws(mixing, speech(), 50):
        assert measure_snr(clean, noisy) == pytest.approx(5, abs=0.01)


def test_noise_alone_changes_when_nothing_else_is_asked_for(hiss):
    (noisy, clean), (other, _) = draws(DynamicMixing([5, 5], [hiss]), speech(), 2)
    assert np.array_equal(clean, speech())
    assert not np.array_equal(noisy, other)  # another part of the file


def test_a_second_noise_is_0_to_15_db_below_the_first(tones):
    def differences(probability):
        mixing = DynamicMixing([0, 0], tones, second_noise_prob=probability)
        levels = [
            [level_at(noisy - clean, hertz) for hertz in (440, 3000)]
            for noisy, clean in draws(mixing, speech(), 100)
        ]
        db = (20 * np.log10(max(pair) / min(pair)) for pair in levels)
        return [one for one in db if one < 40]  # else there was but one tone

    assert not differences(0.0)
    always, sometimes = differences(1.0), differences(0.5)
    assert 0 <= min(always) < 3 and 12 < max(always) < 15.01
    assert 35 <= len(always) <= 65  # of the others both are the same tone
    assert 10 <= len(sometimes) <= 40


def test_noise_is_played_at_another_speed_and_speech_is_not(put):
    noises = [put("tone", tone(1000, 3))]
    heard = []
    mixing = DynamicMixing([0, 0], noises, noise_speed_range=[0.7, 1.4])
    for noisy, clean in draws(mixing, speech(), 40):
        assert np.array_equal(clean, speech())
        heard.append(loudest(noisy - clean))
    assert 695 <= min(heard) < 800 and 1300 < max(heard) <= 1405


def test_noise_is_equalised_and_speech_is_not(hiss):
    mixing = DynamicMixing([0, 0], [hiss], noise_equaliser_db=8.0)
    slopes = []
    for noisy, clean in draws(mixing, speech(), 40):
        assert np.array_equal(clean, speech())
        power = np.abs(np.fft.rfft(noisy - clean)) ** 2
        slopes.append(10 * np.log10(power[200:400].mean() / power[6000:].mean()))
    assert 12 < np.std(slopes) < 36  # the slope alone: 4 dB an octave, over 5 octaves


def test_a_silent_noise_adds_nothing_and_hides_no_other_one(put):
    silence = put("silence", np.zeros(RATE))
    noisy, clean = DynamicMixing([0, 0], [silence])(speech(), np.random.default_rng(0))
    assert np.array_equal(noisy, clean)

    both = [silence, put("tone", tone(440))]
    mixing = DynamicMixing([0, 0], both, second_noise_prob=1.0)
    heard = [noisy - clean for noisy, clean in draws(mixing, speech(), 80)]
    assert 10 <= sum(not noise.any() for noise in heard) <= 30  # a quarter: both silent


def test_without_noises_the_one_that_the_speech_came_with_is_mixed_anew():
    mixing = DynamicMixing([3, 7], noise_speed_range=[0.7, 1.4])
    own, heard = tone(1000, 1.0), []
    for seed in range(20):
        noisy, clean = mixing(speech(), np.random.default_rng(seed), own)
        assert 2.99 < measure_snr(clean, noisy) < 7.01
        assert np.array_equal(clean, speech())
        heard.append(loudest(noisy - clean))
    assert min(heard) < 850 and max(heard) > 1150


# Speech


def test_speech_and_reference_are_equalised_alike(hiss):
    mixing = DynamicMixing([90, 90], [hiss], speech_equaliser_db=3.0)
    (noisy, clean), (_, other) = draws(mixing, speech(), 2)
    assert np.abs(noisy - clean).max() < 1e-4
    assert np.abs(clean - speech()).max() > 0.01
    assert np.abs(clean - other).max() > 0.01


@pytest.fixture
def room(put):
    """Direct sound after 300 samples, reflections 40 and 80 ms after it."""
    response = np.zeros(4000)
    response[[300, 300 + 640, 300 + 1280]] = -0.5, -0.3, 0.2
    return put("room", response)


def delayed(wave, samples):
    return np.pad(wave, (samples, 0))[: len(wave)]


def test_the_reference_in_a_room_is_aligned_and_has_its_first_50_ms(hiss, room):
    mixing = DynamicMixing([100, 100], [hiss], [room], reverb_prob=1.0)
    noisy, reference = mixing(speech(), np.random.default_rng(0))
    early = speech() + 0.6 * delayed(speech(), 640)
    assert np.abs(reference - early).max() < 1e-5
    late = -0.4 * delayed(speech(), 1280)
    assert np.abs(noisy - (early + late)).max() < 1e-4


def test_in_a_room_the_snr_is_that_of_the_reference(hiss, room):
    mixing = DynamicMixing([5, 5], [hiss], [room], reverb_prob=1.0)
    noisy, reference = mixing(speech(), np.random.default_rng(0))
    noise = noisy - reference + 0.4 * delayed(speech(), 1280)
    snr = 10 * np.log10(active_power(reference) / np.mean(noise**2))
    assert snr == pytest.approx(5, abs=0.01)


def test_rooms_come_as_often_as_asked_if_there_are_some(hiss, room):
    for responses, least, most in (([room], 12, 28), ([], 0, 0)):
        mixing = DynamicMixing([5, 5], [hiss], responses, reverb_prob=0.5)
        dry = [np.array_equal(one, speech()) for _, one in draws(mixing, speech(), 40)]
        assert least <= 40 - sum(dry) <= most


def test_a_room_of_another_rate_or_silent_is_named(hiss, put):
    for name, wave, rate, message in (
        ("fast", white(0.1), 48000, "fast.wav: has 48000 Hz in place of 16000"),
        ("silent", np.zeros(99), RATE, "silent.wav: a silent room response"),
    ):
        rooms = [put(name, wave, rate)]
        with pytest.raises(UserError, match=message):
            DynamicMixing([0, 0], [hiss], rooms, reverb_prob=1.0)(
                speech(), np.random.default_rng(0)
            )


# Devices


def test_low_pass_leaves_nothing_above_its_edge_and_all_below():
    before, after = (
        np.abs(np.fft.rfft(w)) for w in (white(1), low_pass(white(1), 4e3))
    )
    assert np.linalg.norm(after[4450:]) < 1e-2 * np.linalg.norm(before[4450:])
    assert np.allclose(after[:3900], before[:3900], rtol=0.05, atol=0.5)


def test_a_narrow_band_is_that_of_noisy_speech_and_reference_alike(put):
    mixing = DynamicMixing([0, 0], [put("hiss", white(2, 1))], band_limit_prob=1.0)
    edges = []
    for pair in draws(mixing, white(1), 40):
        ends = [
            np.flatnonzero(np.abs(np.fft.rfft(wave)) > 0.05 * np.sqrt(len(wave)))[-1]
            for wave in pair
        ]
        assert ends[0] == pytest.approx(ends[1], rel=0.03)
        edges.append(ends[0])
    assert 3000 <= min(edges) < 4000 and max(edges) > 6500


def test_clipping_leaves_flat_tops_on_noisy_speech_alone(hiss):
    whole, clipped = (
        draws(DynamicMixing([5, 5], [hiss], clipping_prob=one), speech(), 20)
        for one in (0.0, 1.0)
    )
    ratios = []
    for (before, clean), (after, reference) in zip(whole, clipped):
        most = np.abs(after).max()
        assert np.array_equal(after, before.clip(-most, most))
        assert np.array_equal(reference, clean)
        ratios.append(most / np.abs(before).max())
    assert 0.15 <= min(ratios) < 0.3 and 0.7 < max(ratios) <= 0.9


# All of it


def test_the_same_seed_gives_the_same_samples_in_a_worker_too(hiss, tones, room):
    mixing = DynamicMixing([0, 15], [hiss, *tones], [room], **EVERYTHING)
    ours = draws(mixing, speech(), 5)
    theirs = draws(pickle.loads(pickle.dumps(mixing)), speech(), 5)
    assert np.array_equal(ours, theirs)
    assert len({noisy.tobytes() for noisy, _ in ours}) == 5


@pytest.mark.parametrize(
    "clean", [speech(), speech()[2000:2001], speech()[2000:2099], np.zeros(RATE, "f")]
)
def test_very_short_and_silent_speech_stays_finite(hiss, room, clean):
    mixing = DynamicMixing([-5, 15], [hiss], [room], **EVERYTHING)
    for pair in draws(mixing, clean, 30):
        for wave in pair:
            assert wave.shape == clean.shape and wave.dtype == np.float32
            assert np.isfinite(wave).all()


def test_the_page_on_own_data_tells_all_options_and_what_train_small_chooses(
    repository,
):
    page = (repository / "docs/own_data.md").read_text()
    chosen = yaml.safe_load((repository / "conf/train_small.yaml").read_text())
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\S+) \| (.+?) \|$", page, re.MULTILINE)
    told = {name: (default, value.strip("`")) for name, default, value in rows}
    options = {one.name: one.default for one in fields(DynamicMixing)}
    assert told.keys() == options.keys() - {"noises", "responses"}
    for name, (default, value) in told.items():
        assert yaml.safe_load(value) == chosen["preprocessor_conf"][name]
        assert default == "off" or float(default) == options[name]


# Parts


def test_an_equaliser_has_bumps_of_what_is_asked_for_and_half_as_much_slope():
    impulse = np.zeros(2**14, np.float32)
    impulse[2**13] = 1.0
    random = np.random.default_rng(0)
    gains = [
        20 * np.log10(np.abs(np.fft.rfft(equalise(impulse, 5.0, random)))[[30, -1]])
        for _ in range(400)
    ]
    octaves = np.log2([30 / 1000, 8])
    expected = np.hypot(5, 2.5 * octaves)
    assert np.std(gains, axis=0) == pytest.approx(expected, rel=0.15)
    assert np.array_equal(equalise(impulse, 0.0, random), impulse)


def test_an_equaliser_does_not_ring_from_one_end_into_the_other():
    impulse = np.zeros(2**14, np.float32)
    impulse[-1] = 1.0
    assert np.abs(equalise(impulse, 9.0, np.random.default_rng(0))[:2000]).max() < 1e-3


def test_a_part_of_a_file_is_from_anywhere_and_begins_again_at_the_end(put):
    path = put("ramp", np.arange(8) / 8)
    random = np.random.default_rng(0)
    parts = [8 * read_part(path, 3, random) for _ in range(100)]
    assert {tuple(part - part[0]) for part in parts} == {(0, 1, 2)}
    assert {part[0] for part in parts} == set(range(6))
    longer = [8 * read_part(path, 20, random) for _ in range(100)]
    assert {tuple(np.diff(part) % 8) for part in longer} == {(1,) * 19}
    assert {part[0] for part in longer} == set(range(8))


def test_a_noise_that_cannot_be_used_is_named(put, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    for path, message in (
        (put("fast", white(0.1), 48000), "fast.wav: is not mono audio at 16000 Hz"),
        (put("stereo", np.ones((99, 2))), "stereo.wav: is not mono audio"),
        (put("empty", np.ones(0)), "empty.wav: is not mono audio"),
        (tmp_path / "text.wav", "text.wav: cannot be read"),
        (tmp_path / "missing.wav", "missing.wav: cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            read_part(path, 50, np.random.default_rng(0))


def test_a_crop_is_from_anywhere_and_pads_what_is_short():
    random = np.random.default_rng(0)
    assert {crop_start(6, 4, random) for _ in range(50)} == {0, 1, 2}
    assert {crop_start(4, 6, random) for _ in range(50)} == {0, -1, -2}
    assert crop(np.arange(1, 7), (2, 3)).tolist() == [3, 4, 5]
    assert crop(np.arange(1, 4), (-2, 6)).tolist() == [0, 0, 1, 2, 3, 0]


def test_a_list_of_files_is_read_and_a_missing_one_named(tmp_path):
    (tmp_path / "wav.scp").write_text("a a.wav\nb b.wav\n")
    assert read_list(str(tmp_path / "wav.scp")) == ("a.wav", "b.wav")
    assert read_list(None) == ()
    with pytest.raises(UserError, match="none.scp: no such file"):
        read_list(str(tmp_path / "none.scp"))

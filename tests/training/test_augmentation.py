"""The preprocessor bsp_mpnet: what each change does to a pair, and when none is made."""

import pickle
from argparse import Namespace
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
import yaml
from espnet2.train.preprocessor import detect_non_silence

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.training.augmentation import (
    AugmentingPreprocessor,
    change_speed,
    remix,
)
from espnet2_bspmpnet.training.config import check_config
from espnet2_bspmpnet.training.task import training_task
from tests.networks import TINY
from tests.speech import measure_snr, noisy, speechlike

ENH = {"sample_rate": 16000, "num_spk": 1}


@pytest.fixture(scope="module")
def task():
    import espnet2.tasks.enh

    return espnet2.tasks.enh.EnhancementTask


@pytest.fixture
def build(task):
    """Return a function that builds preprocessor and collate function of a config."""
    task = training_task(task)

    def build(conf, name="bsp_mpnet", train=True, **changes):
        args = Namespace(
            separator="bsp_mpnet",
            preprocessor=name,
            preprocessor_conf=conf,
            iterator_type="sequence",
            chunk_discard_short_samples=True,
        )
        vars(args).update(changes)
        return task.build_preprocess_fn(args, train), task.build_collate_fn(args, train)

    return build


def pair(seconds=1.0, seed=0):
    clean = speechlike(seconds, seed=seed).astype(np.float32)
    mixture = noisy(clean, 5.0, seed).astype(np.float32)
    return {"speech_mix": mixture, "speech_ref1": clean}


def pairs(number=4, seconds=1.2):
    return [(f"u{index}", pair(seconds, index)) for index in range(number)]


def batch_of(built, data, seed=0):
    preprocess, collate = built
    np.random.seed(seed)
    return collate([(uid, preprocess(uid, dict(one))) for uid, one in data])[1]


def same(one, other):
    return all(
        torch.equal(one[name], other[name]) for name in one.keys() | other.keys()
    )


def decibels(wave, other):
    return 20 * np.log10(np.linalg.norm(wave) / np.linalg.norm(other))


def noises_of(batch):
    return batch["speech_mix"] - batch["speech_ref1"]


# Each change by itself


def test_gain_is_the_same_for_noisy_and_clean_and_within_its_range(build):
    preprocess, _ = build({**ENH, "gain_range": [-12, 6]})
    np.random.seed(0)
    gains = []
    for uid, data in pairs(20, 0.2):
        changed = preprocess(uid, dict(data))
        ratio = changed["speech_mix"] / data["speech_mix"]
        assert np.allclose(changed["speech_ref1"], ratio[0] * data["speech_ref1"])
        gains.append(decibels(changed["speech_ref1"], data["speech_ref1"]))
    assert -12 <= min(gains) < -6 < 0 < max(gains) <= 6


@pytest.mark.parametrize("speed", [Fraction(9, 10), Fraction(11, 10)])
def test_speed_changes_length_and_pitch_by_its_factor(speed):
    time = np.arange(16000) / 16000
    changed = change_speed(np.sin(2 * np.pi * 500 * time), speed)
    assert len(changed) == round(16000 / speed)
    peak = np.abs(np.fft.rfft(changed)).argmax() * 16000 / len(changed)
    assert peak == pytest.approx(500 * speed, abs=1)


def test_noisy_and_clean_are_played_at_the_same_speed(build):
    preprocess, _ = build({**ENH, "speed_range": [0.9, 1.1]})
    np.random.seed(0)
    clean = speechlike(0.2).astype(np.float32)
    lengths = []
    for number in range(20):
        data = {"speech_mix": 2 * clean, "speech_ref1": clean.copy()}
        changed = preprocess(f"u{number}", data)
        assert np.allclose(changed["speech_mix"], 2 * changed["speech_ref1"], atol=1e-6)
        assert changed["speech_mix"].dtype == np.float32
        lengths.append(len(changed["speech_mix"]))
    assert 2909 <= min(lengths) < 3200 < max(lengths) <= 3556


def test_a_crop_has_its_length_whatever_the_speed(build):
    conf = {**ENH, "speed_range": [0.9, 1.1], "speech_segment": 16000}
    batch = batch_of(build(conf), pairs())
    assert batch["speech_mix"].shape == (4, 16000)


def test_remixing_keeps_the_clean_speech_and_the_set_of_noises():
    data = pairs()
    mixed = remix(data, [2, 0, 3, 1])
    for (uid, before), (same_uid, after), other in zip(data, mixed, [2, 0, 3, 1]):
        assert uid == same_uid
        assert np.array_equal(after["speech_ref1"], before["speech_ref1"])
        noise = data[other][1]["speech_mix"] - data[other][1]["speech_ref1"]
        gotten = after["speech_mix"] - after["speech_ref1"]
        assert np.abs(gotten - noise).max() < 1e-6


def test_remixing_repeats_a_shorter_noise_and_cuts_a_longer_one():
    clean = {"a": np.zeros(4), "b": np.zeros(6)}
    noise = {"a": np.arange(4.0), "b": np.arange(6.0)}
    data = [
        (name, {"speech_mix": noise[name], "speech_ref1": clean[name]})
        for name in ("a", "b")
    ]
    (_, a), (_, b) = remix(data, [1, 0])
    assert a["speech_mix"].tolist() == [0, 1, 2, 3]
    assert b["speech_mix"].tolist() == [0, 1, 2, 3, 0, 1]


def test_a_batch_is_remixed_as_often_as_asked(build):
    remixed = {}
    for probability in (0.0, 0.5, 1.0):
        built = build({**ENH, "remix_prob": probability})
        plain = batch_of(build(ENH), pairs(8, 0.2))
        counts = [
            not torch.equal(batch_of(built, pairs(8, 0.2), seed)["speech_mix"],
                            plain["speech_mix"])
            for seed in range(40)
        ]  # fmt: skip
        remixed[probability] = sum(counts)
    assert remixed[0.0] == 0 and 10 <= remixed[0.5] <= 30 and remixed[1.0] == 40


# ESPnet's own way of mixing clean speech with noise, which recipes use


def test_noise_is_mixed_at_the_snr_that_was_asked_for(build, tmp_path):
    """SNR: level of active speech over that of the noise, which is looped if short."""
    random = np.random.default_rng(0)
    lines = []
    for name, seconds in (("short", 0.3), ("long", 5.0)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, 0.1 * random.standard_normal(int(16000 * seconds)), 16000)
        lines.append(f"{name} {path}\n")
    (tmp_path / "noise.scp").write_text("".join(lines))
    clean = speechlike(1.0).astype(np.float32)
    active = detect_non_silence(clean[None])[0]
    for snr in (-5, 0, 15):
        preprocess, _ = build(
            ENH, noise_scp=str(tmp_path / "noise.scp"), noise_db_range=f"{snr}"
        )
        np.random.seed(0)
        mixtures = []
        for _ in range(6):
            data = {"speech_mix": clean.copy(), "speech_ref1": clean.copy()}
            mixed = preprocess("u", data)
            noise = mixed["speech_mix"] - mixed["speech_ref1"]
            level = np.mean(mixed["speech_ref1"][active] ** 2) / np.mean(noise**2)
            assert 10 * np.log10(level) == pytest.approx(snr, abs=0.1)
            mixtures.append(mixed["speech_mix"])
        assert not np.array_equal(mixtures[0], mixtures[1])


# Our own way, which mixing.py tells more of


MIXED = {
    "snr_range": [0, 10],
    "second_noise_prob": 0.5,
    "noise_speed_range": [0.8, 1.2],
    "reverb_prob": 0.5,
}


@pytest.fixture
def lists(tmp_path):
    """Lists of a noise and of a room whose response is far from a pulse."""
    random = np.random.default_rng(0)
    room = np.append(1.0, 0.1 * random.standard_normal(4000))
    for name, wave in (("noise", random.standard_normal(32000)), ("rir", room)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * wave, 16000)
        (tmp_path / f"{name}.scp").write_text(f"one {tmp_path / name}.wav\n")
    return {f"{name}_scp": str(tmp_path / f"{name}.scp") for name in ("noise", "rir")}


def test_noises_of_a_list_are_mixed_with_the_clean_speech_in_place_of_noisy_speech(
    build, lists
):
    preprocess, _ = build({**ENH, "snr_range": [0, 10]}, **lists)
    clean = pair()["speech_ref1"]
    snrs = []
    for number in range(40):
        data = {"speech_mix": np.ones(len(clean), "f"), "speech_ref1": clean.copy()}
        mixed = preprocess(f"u{number}", data)
        snrs.append(measure_snr(mixed["speech_ref1"], mixed["speech_mix"]))
        gain = np.dot(mixed["speech_ref1"], clean) / np.dot(clean, clean)
        # No room without reverb_prob; ESPnet's part only keeps peaks below 1.
        assert np.allclose(mixed["speech_ref1"], gain * clean, atol=1e-6) and gain <= 1
    assert -0.01 < min(snrs) < 2 and 8 < max(snrs) < 10.01


def test_rooms_of_a_list_change_the_reference_with_the_noisy_speech(build, lists):
    preprocess, _ = build({**ENH, "snr_range": [40, 40], "reverb_prob": 1.0}, **lists)
    mixed = preprocess("u", pair())
    assert (
        decibels(mixed["speech_ref1"] - pair()["speech_ref1"], pair()["speech_ref1"])
        > -10
    )
    late = decibels(mixed["speech_mix"] - mixed["speech_ref1"], mixed["speech_ref1"])
    assert -20 < late < 10


def test_a_crop_for_mixing_has_its_length_of_any_speed_and_is_padded(build, lists):
    """ESPnet's would be of whole seconds, here none."""
    conf = {**ENH, "snr_range": [0, 0], "speed_range": [0.8, 1.2]}
    built = build({**conf, "speech_segment": 12000}, **lists)
    assert batch_of(built, pairs(6))["speech_mix"].shape == (6, 12000)
    short = batch_of(built, pairs(6, 0.2))
    assert short["speech_mix"].shape == (6, 12000)
    sounding = (short["speech_ref1"].abs() > 2e-4).sum(1)
    assert 2500 < min(sounding) < max(sounding) < 4100  # 3200 are there: none is lost
    ends = torch.cat([short["speech_ref1"][:, :1], short["speech_ref1"][:, -1:]], 1)
    assert (ends == 0).any(1).all() and (short["speech_mix"][:, -1] != 0).all()


def test_a_crop_for_mixing_is_rarely_silent_where_speech_is(build, lists):
    conf = {**ENH, "snr_range": [0, 0], "speech_segment": 8000}
    preprocess, _ = build(conf, **lists)
    clean = np.append(np.zeros(56000, "f"), pair(0.5)["speech_ref1"])
    np.random.seed(0)
    crops = [
        preprocess(f"u{number}", {"speech_mix": clean, "speech_ref1": clean})
        for number in range(40)
    ]
    assert sum(one["speech_ref1"].any() for one in crops) >= 25  # of one draw, 6
    assert all(np.isfinite(one["speech_mix"]).all() for one in crops)


def test_mixing_goes_to_the_workers_that_load_data(build, lists):
    preprocess, _ = build({**ENH, **MIXED, "speech_segment": 8000}, **lists)
    other = pickle.loads(pickle.dumps(preprocess))
    waves = []
    for one in (preprocess, other):
        np.random.seed(0)
        waves.append(one("u", pair())["speech_mix"])
    assert np.array_equal(*waves)


def test_a_pair_without_noise_is_named_where_there_are_no_others(build):
    preprocess, _ = build({**ENH, "snr_range": [0, 5]})
    clean = pair()["speech_ref1"]
    with pytest.raises(
        UserError, match="no noise to mix: anna_1 has none.*--noise_dir"
    ):
        preprocess("anna_1", {"speech_mix": clean, "speech_ref1": clean})


def test_without_a_list_each_pairs_own_noise_is_mixed_anew(build):
    preprocess, _ = build({**ENH, "snr_range": [40, 40], "speech_segment": 8000})
    mixed = preprocess("u", pair())
    assert len(mixed["speech_mix"]) == 8000
    noise = mixed["speech_mix"] - mixed["speech_ref1"]
    assert decibels(noise, mixed["speech_ref1"]) < -30


def test_mixing_is_off_where_a_configuration_takes_its_range_back(build, lists):
    noisy_batch = batch_of(build({**ENH, **MIXED, "snr_range": None}), pairs())
    assert same(noisy_batch, batch_of(build(ENH, "enh"), pairs()))


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("snr_range", [10, 0], r"snr_range: \[10, 0\] is no range .* -50 ... 100"),
        ("snr_range", 5, "snr_range: 5 is no range"),
        ("noise_speed_range", [0.1, 1], "noise_speed_range: .* within 0.5 ... 2"),
        ("second_noise_prob", 1.5, "second_noise_prob: 1.5 is no number from 0 to 1"),
        ("reverb_prob", True, "reverb_prob: True is no number from 0 to 1"),
        ("clipping_prob", "often", "clipping_prob: 'often' is no number from 0 to 1"),
        ("band_limit_prob", -1, "band_limit_prob: -1 is no number from 0 to 1"),
        ("noise_equaliser_db", 50, "noise_equaliser_db: 50 is no number from 0 to 40"),
        ("speech_equaliser_db", None, "speech_equaliser_db: None is no number"),
        ("speech_segment", -1, "speech_segment: -1 is no number of samples"),
        ("speech_segment", 1.5, "speech_segment: 1.5 is no number of samples"),
        ("noise_scp", "none.scp", "none.scp: no such file"),
        ("rir_scp", "none.scp", "none.scp: no such file"),
        ("noises", ["a.wav"], "no option 'noises'"),
        ("mixing", {}, "no option 'mixing'"),
        ("rir_apply_prob", 0.5, "rir_apply_prob: has no meaning with snr_range"),
        ("noise_db_range", "0_5", "noise_db_range: has no meaning with snr_range"),
        ("remix_prob", 0.5, "remix_prob: has no meaning with snr_range"),
    ],
)
def test_a_wrong_option_of_mixing_is_named(build, lists, option, value, message):
    with pytest.raises(UserError, match=message):
        build({**ENH, **MIXED, option: value}, **lists)


def test_options_of_mixing_without_snr_range_are_refused(build):
    conf = {**ENH, "clipping_prob": 0.1, "reverb_prob": 0.1}
    message = r"clipping_prob, reverb_prob: without snr_range: \[low, high\].*add it"
    for train in (True, False):
        with pytest.raises(UserError, match=message):
            build(conf, train=train)


def test_mixing_is_refused_with_a_feature_cache(tmp_path):
    config = {
        "separator": "bsp_mpnet",
        "separator_conf": {**TINY, "finetune": "none", "feature_cache": "cache"},
        "preprocessor": "bsp_mpnet",
        "preprocessor_conf": {**ENH, "snr_range": [0, 10]},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="snr_range changes .* set snr_range to null"):
        check_config(tmp_path / "train.yaml")


# When


ALL = {"gain_range": [-6, 6], "speed_range": [0.9, 1.1], "remix_prob": 1.0}


def test_with_all_off_batches_are_those_of_espnets_preprocessor(build):
    conf = {**ENH, "speech_segment": 16000}
    off = {"gain_range": None, "speed_range": None, "remix_prob": 0.0}
    espnets = batch_of(build(conf, "enh"), pairs())
    assert same(batch_of(build(conf), pairs()), espnets)
    assert same(batch_of(build({**conf, **off}), pairs()), espnets)
    assert not same(batch_of(build({**conf, **ALL}), pairs()), espnets)


@pytest.mark.parametrize("changes", [ALL, {**MIXED, "speech_segment": 8000}])
def test_validation_sees_the_data_as_they_are(build, lists, changes):
    espnets = batch_of(build(ENH, "enh", train=False), pairs())
    for given in (lists, {"noise_scp": "gone.scp"}):  # those are for training alone
        built = build({**ENH, **changes}, train=False, **given)
        assert same(batch_of(built, pairs()), espnets)


@pytest.mark.parametrize("changes", [ALL, MIXED])
def test_the_same_seed_gives_the_same_batch_and_another_one_another(
    build, lists, changes
):
    built = build({**ENH, **changes, "speech_segment": 16000}, **lists)
    one, again, other = (batch_of(built, pairs(), seed) for seed in (0, 0, 1))
    assert same(one, again)
    assert not torch.equal(one["speech_mix"], other["speech_mix"])


@pytest.mark.parametrize("changes", [{"gain_range": [-6, 6]}, MIXED])
def test_each_epoch_and_worker_sees_other_changes(build, lists, changes):
    from espnet2.iterators.sequence_iter_factory import SequenceIterFactory

    preprocess, collate = build({**ENH, **changes}, **lists)
    wave = pair(0.1)["speech_ref1"]

    class Same(torch.utils.data.Dataset):
        """Eight utterances of the same samples."""

        def __getitem__(self, uid):
            data = {"speech_mix": wave.copy(), "speech_ref1": wave.copy()}
            return uid, preprocess(uid, data)

    batches = [[f"u{2 * number}", f"u{2 * number + 1}"] for number in range(4)]
    factory = SequenceIterFactory(
        Same(), batches, seed=0, num_workers=2, collate_fn=collate
    )

    def peaks(epoch):
        seen = [
            (uid, float(one.abs().max()))
            for uids, batch in factory.build_iter(epoch)
            for uid, one in zip(uids, batch["speech_mix"])
        ]
        return dict(seen)

    first, again, second = peaks(1), peaks(1), peaks(2)
    assert first == again
    assert len({*first.values(), *second.values()}) == 16


# What is refused


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("gain_range", 3, r"gain_range: 3 is no range \[low, high\] within -40 ... 40"),
        ("gain_range", [6, -6], "gain_range: "),
        ("gain_range", [-90, 0], "within -40 ... 40"),
        ("speed_range", [0.1, 1.1], "within 0.5 ... 2"),
        ("speed_range", ["slow", 1.1], "speed_range: "),
        ("speed_range", [0.9, 1.0, 1.1], "speed_range: "),
        ("remix_prob", 1.5, "remix_prob: 1.5 is no number from 0 to 1"),
        ("remix_prob", True, "remix_prob: True is no number"),
        ("gain_rang", [0, 1], "has no option 'gain_rang'; did you mean 'gain_range'?"),
        ("train", True, "known: .*gain_range.*remix_prob.*speech_segment"),
    ],
)
def test_a_wrong_option_or_value_is_named_with_what_is_allowed(
    build, option, value, message
):
    with pytest.raises(UserError, match=message):
        build({**ENH, option: value})


def test_remixing_is_refused_where_batches_are_made_of_chunks(build):
    chunks = {"iterator_type": "chunk"}
    with pytest.raises(UserError, match="remix_prob: does nothing with .*chunk"):
        build({**ENH, "remix_prob": 0.5}, **chunks)
    build({**ENH, "remix_prob": 0.5}, train=False, **chunks)
    build({**ENH, "remix_prob": 0.5}, chunk_discard_short_samples=False, **chunks)


def test_other_models_may_have_the_preprocessor_but_keep_their_batches(build):
    preprocess, _ = build({**ENH, "gain_range": [-6, 6]}, separator="rnn")
    assert isinstance(preprocess, AugmentingPreprocessor)
    with pytest.raises(UserError, match="remix_prob: needs 'separator: bsp_mpnet'"):
        build({**ENH, "remix_prob": 0.5}, separator="rnn")

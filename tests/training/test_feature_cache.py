"""Features of a frozen SSL model, computed once and read exactly as they were."""

import logging
import multiprocessing
import os

import pytest
import torch
from torch import nn

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.ssl.models import SSLModel
from espnet2_bspmpnet.training import feature_cache
from espnet2_bspmpnet.training.feature_cache import caching_features, fingerprint
from tests.networks import TINY_UPSTREAM, speech_like


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Pretrained weights of a small WavLM."""
    path = tmp_path_factory.mktemp("ssl") / "wavlm.pt"
    torch.manual_seed(0)
    model = SSLModel(
        "wavlm_base", upstream_conf=TINY_UPSTREAM, checkpoint="random"
    ).model
    torch.save({"cfg": {}, "model": model.state_dict()}, path)
    return path


@pytest.fixture
def frozen(checkpoint, tmp_path):
    """Return a function that builds a frozen SSL model with its cache's folder."""

    def build(checkpoint=checkpoint, folder=tmp_path / "cache", **changes):
        model = SSLModel(
            "wavlm_base",
            upstream_conf={**TINY_UPSTREAM, **changes.pop("upstream_conf", {})},
            checkpoint=str(checkpoint),
            finetune="none",
            feature_cache=str(folder),
            **changes,
        ).eval()
        model.load_pretrained()
        model.convolved = 0
        model.model["feature_extractor"].conv_layers[0].register_forward_hook(count)
        count.model = model
        return model

    def count(*_):
        count.model.convolved += 1

    return build


def layers_of(ssl, *lengths, seed=0, dtype=torch.float32):
    wave, lengths = speech_like(*lengths, seed=seed)
    layers, frames = ssl(wave.to(dtype), lengths)
    return list(layers), frames


def real_frames(layers, frames):
    """The real part of every layer and utterance, in a fixed order."""
    return [row[:count] for layer in layers for row, count in zip(layer, frames)]


def assert_same(one, other):
    for x, y in zip(real_frames(*one), real_frames(*other), strict=True):
        assert x.dtype == y.dtype
        assert torch.equal(x, y)


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_the_second_time_the_same_values_come_without_running_the_model(frozen):
    ssl = frozen()
    plain = layers_of(ssl, 8000, 5000, 300)
    assert ssl.convolved == 3
    with caching_features(ssl):
        computed = layers_of(ssl, 8000, 5000, 300)
        assert ssl.convolved == 6
        read = layers_of(ssl, 8000, 5000, 300)
        assert (ssl.cache.found, ssl.cache.computed) == (3, 3)
    assert ssl.convolved == 6
    assert_same(computed, plain)
    assert_same(read, plain)


def test_another_training_reads_what_the_first_one_kept(frozen):
    first, second = frozen(), frozen()
    with caching_features(first):
        computed = layers_of(first, 8000, 5000)
    with caching_features(second):
        read = layers_of(second, 8000, 5000)
        assert (second.cache.found, second.cache.computed) == (2, 0)
    assert_same(read, computed)


def test_an_utterance_is_found_in_any_batch(frozen):
    """Alone, beside a longer one, or with more padding than its batch needs."""
    ssl = frozen()
    wave, lengths = speech_like(8000, 5000)
    with caching_features(ssl):
        computed, frames = layers_of(ssl, 8000, 5000)
        ran = ssl.convolved
        alone, _ = ssl(wave[1:, :5000], lengths[1:])
        padded, _ = ssl(nn.functional.pad(wave[1:], (0, 999)), lengths[1:])
        for one, other, both in zip(alone, padded, computed):
            assert torch.equal(one[0], both[1, : frames[1]])
            assert torch.equal(other[0, : frames[1]], both[1, : frames[1]])
        assert ssl.convolved == ran


def test_what_one_batch_lacks_is_computed_and_the_rest_is_not_written_again(frozen):
    ssl = frozen()
    with caching_features(ssl):
        layers_of(ssl, 8000)
        (old,) = files(ssl.cache.folder)
        before = old.stat().st_mtime_ns, old.stat().st_ino
        both = layers_of(ssl, 8000, 5000)
        assert (ssl.cache.found, ssl.cache.computed) == (1, 2)
        assert len(files(ssl.cache.folder)) == 2
        assert (old.stat().st_mtime_ns, old.stat().st_ino) == before
    assert_same(both, layers_of(ssl, 8000, 5000))


def test_features_are_kept_though_nobody_asks_for_a_layer_after_the_last(frozen):
    ssl = frozen()
    with caching_features(ssl):
        layers, _ = ssl(*speech_like(5000))
        for _ in zip(range(ssl.num_layers), layers):
            pass
        assert len(files(ssl.cache.folder)) == 1


def changed_checkpoint(checkpoint, folder):
    weights = torch.load(checkpoint, weights_only=True)
    weights["model"]["layer_norm.bias"] += 1e-6
    torch.save(weights, folder / "other.pt")
    return {"checkpoint": folder / "other.pt"}


@pytest.mark.parametrize(
    "change",
    [
        changed_checkpoint,
        lambda *_: {"layers": [1]},
        lambda *_: {"layers": [0, 1, 2]},
        lambda *_: {"upstream_conf": {"normalize": True}},
    ],
    ids=["weights", "fewer layers", "more layers", "no weights"],
)
def test_another_model_or_choice_of_layers_has_features_of_its_own(
    frozen, checkpoint, tmp_path, change
):
    first, second = frozen(), frozen(**change(checkpoint, tmp_path))
    with caching_features(first):
        layers_of(first, 5000)
    with caching_features(second):
        own = layers_of(second, 5000)
        assert (second.cache.found, second.cache.computed) == (0, 1)
    assert_same(own, layers_of(second, 5000))


def test_any_change_of_the_waveform_or_its_type_misses(frozen):
    ssl = frozen()
    wave, lengths = speech_like(5000)
    with caching_features(ssl):
        list(ssl(wave, lengths)[0])
        changed = wave.clone()
        changed[0, 4321] += 1e-6
        for other, length in ((changed, lengths), (wave, lengths - 1)):
            list(ssl(other, length)[0])
        with torch.autocast("cpu", torch.bfloat16):
            list(ssl(wave, lengths)[0])
        list(ssl.to(torch.bfloat16)(wave.bfloat16(), lengths)[0])
        assert (ssl.cache.found, ssl.cache.computed) == (0, 5)


def test_reduced_precision_is_kept_as_it_is(frozen):
    ssl = frozen().to(torch.bfloat16)
    with caching_features(ssl):
        computed = layers_of(ssl, 5000, 4000, dtype=torch.bfloat16)
        read = layers_of(ssl, 5000, 4000, dtype=torch.bfloat16)
        assert ssl.cache.found == 2
    assert read[0][0].dtype == torch.bfloat16
    assert_same(read, computed)


def test_layers_of_different_types_keep_theirs(frozen):
    """As under automatic mixed precision, where a layer norm gives float32."""
    ssl = frozen()
    with caching_features(ssl), torch.autocast("cpu", torch.bfloat16):
        computed = layers_of(ssl, 5000)
        read = layers_of(ssl, 5000)
        assert ssl.cache.found == 1
    assert_same(read, computed)


def torn(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def foreign(path):
    path.write_bytes(b"not a safetensors file, whatever its name says" * 9)


def anothers(path):
    """A whole file, of another utterance of the same length."""
    other = next(p for p in files(path.parents[2]) if p != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [torn, empty, foreign, anothers])
def test_a_damaged_file_is_reported_once_computed_again_and_replaced(
    frozen, caplog, damage
):
    ssl = frozen()
    plain = layers_of(ssl, 5000, 5000)
    with caching_features(ssl):
        layers_of(ssl, 5000, 5000)
        first, second = files(ssl.cache.folder)
        good = first.read_bytes()
        damage(first)
        if damage is not anothers:
            damage(second)
        caplog.clear()
        again = layers_of(ssl, 5000, 5000)
        assert first.read_bytes() == good
        (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert "is damaged" in warning.getMessage()
    assert_same(again, plain)


def test_a_full_disk_is_named(frozen, monkeypatch, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    ssl = frozen()

    def write_to_full_disk(path, data):
        with open("/dev/full", "wb") as file:
            file.write(data)

    with caching_features(ssl):
        monkeypatch.setattr(feature_cache.Path, "write_bytes", write_to_full_disk)
        with pytest.raises(UserError, match="safetensors: the disk is full"):
            layers_of(ssl, 5000)
    assert not files(tmp_path / "cache")


def test_a_folder_that_cannot_be_made_is_named_before_training(frozen, tmp_path):
    (tmp_path / "file").write_text("")
    ssl = frozen(folder=tmp_path / "file" / "cache")
    with (
        pytest.raises(UserError, match="cache/README.txt: part of this path is a file"),
        caching_features(ssl),
    ):
        pass


def test_nothing_is_kept_outside_training_or_without_a_folder(frozen, tmp_path):
    ssl = frozen()
    with pytest.raises(KeyboardInterrupt), caching_features(ssl):
        raise KeyboardInterrupt
    assert ssl.cache is None
    layers_of(ssl, 5000)
    assert not files(tmp_path / "cache")
    without = SSLModel("wavlm_base", upstream_conf=TINY_UPSTREAM, checkpoint="random")
    with caching_features(without):
        assert without.cache is None


def test_the_folders_size_is_logged(frozen, caplog):
    """2 layers x 16 channels x 4 bytes x 50 frames a second x 3600 seconds."""
    caplog.set_level(logging.INFO)
    large = {"encoder_embed_dim": 160, "encoder_layers": 200}
    ssl = frozen(checkpoint="random", upstream_conf=large)
    with caching_features(ssl):
        pass
    assert "takes about 23.0 GB for every hour" in caplog.text
    assert "0 utterances were found, of 0 computed" in caplog.text


def write_the_same(folder, barrier):
    """Two processes, the same utterances, at the same time."""
    torch.manual_seed(0)
    ssl = SSLModel(
        "wavlm_base", upstream_conf=TINY_UPSTREAM, checkpoint="random", finetune="none"
    ).eval()
    ssl.feature_cache = folder
    barrier.wait(60)
    with caching_features(ssl):
        for _ in range(3):
            for path in files(ssl.cache.folder):
                path.unlink(missing_ok=True)
            layers_of(ssl, 5000, 4000)


def test_processes_that_keep_the_same_utterances_do_no_harm(frozen, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    arguments = (str(tmp_path / "cache"), barrier)
    processes = [context.Process(target=write_the_same, args=arguments) for _ in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    torch.manual_seed(0)
    ssl = SSLModel(
        "wavlm_base", upstream_conf=TINY_UPSTREAM, checkpoint="random", finetune="none"
    ).eval()
    ssl.feature_cache = str(tmp_path / "cache")
    plain = layers_of(ssl, 5000, 4000)
    with caching_features(ssl):
        assert_same(layers_of(ssl, 5000, 4000), plain)
        assert (ssl.cache.found, ssl.cache.computed) == (2, 0)
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_a_fingerprint_is_of_names_types_shapes_and_values():
    def prints(*tensors):
        module = nn.Module()
        for index, tensor in enumerate(tensors):
            module.register_buffer(f"x{index}", tensor)
        return fingerprint(module)

    zeros = torch.zeros(2, 3)
    assert prints(zeros) == prints(zeros.clone().T.contiguous().T)
    changed = zeros.clone()
    changed[1, 2] = 1e-30
    others = [
        (zeros, zeros), (zeros.T,), (zeros.int(),), (zeros.half(),), (changed,), (),
        (torch.zeros(()),),
    ]  # fmt: skip
    found = [prints(*tensors) for tensors in [(zeros,), *others]]
    assert len(set(found)) == len(found)

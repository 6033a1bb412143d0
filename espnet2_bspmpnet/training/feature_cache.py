"""The layers of a frozen SSL model, computed once for every utterance and kept on disk.

What is kept is exact: one safetensors file for each utterance, named by a hash of its
samples, in a folder named by a hash of the model.  Another model, another choice of
layers or another waveform is simply not found; a file that is torn or not ours is
computed again and replaced.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from espnet2_bspmpnet.files.atomic import replacing, write_text
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE
from espnet2_bspmpnet.ssl.models import SSLModel

README = """\
Outputs of a frozen SSL model's layers, kept by espnet2_bspmpnet while training with
feature_cache; one folder for each model. All of it may be deleted at any time.
"""


class FeatureCache:
    """Layers' outputs, kept in a folder, of utterances that come again and again.

    Args:
        folder: made if need be; trainings and processes may share it.
        ssl: the model, with ``finetune: none``.

    Raises:
        UserError: the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, ssl: SSLModel):
        self.folder = Path(folder)
        self.ssl = ssl
        self.found = self.computed = 0  # utterances
        self._warned = False
        write_text(self.folder / "README.txt", README)

    def layers(
        self,
        wave: Tensor,
        lengths: Tensor,
        frames: Tensor,
        compute: Callable[[], Iterable[Tensor]],
    ) -> Iterator[Tensor]:
        """Give the layers' outputs one by one, from disk or computed and put there.

        The batch is computed whole as soon as one of its utterances is missing.

        Args:
            wave: what the SSL model is given [B, L].
            lengths: samples of each [B].
            frames: real SSL frames of each [B].
            compute: gives the layers' outputs, ``ssl.num_layers`` times [B, S, D].

        Yields:
            [B, S, D]; what comes from disk is zero beyond ``frames``.

        Raises:
            UserError: the disk is full.
        """
        counts = frames.tolist()
        paths = self._paths(wave, lengths)
        kept = list(map(self._read, paths, counts))
        missing = [row for row, layers in enumerate(kept) if layers is None]
        self.found += len(kept) - len(missing)
        self.computed += len(missing)
        if not missing:
            for rows in zip(*kept):
                yield pad_sequence(rows, batch_first=True).to(wave.device)
            return
        fresh = {row: [] for row in missing}
        for number, layer in enumerate(compute(), 1):
            on_cpu = layer.detach().cpu()
            for row, layers in fresh.items():
                layers.append(on_cpu[row, : counts[row]].clone())
                # Before the last is given: nobody need ask whether there is another one.
                if number == self.ssl.num_layers:
                    self._write(paths[row], layers)
            yield layer

    @cached_property
    def _model_folder(self) -> Path:
        # When it is first used: resuming loads the weights after the cache is made.
        options = json.dumps([self.ssl.architecture, self.ssl.layers], sort_keys=True)
        key = hashlib.sha256(options.encode())
        key.update(fingerprint(self.ssl.model).encode())
        return self.folder / key.hexdigest()[:16]

    def _paths(self, wave: Tensor, lengths: Tensor) -> list[Path]:
        """Where the layers of each utterance of a batch [B, L] are kept."""
        device = wave.device.type
        precision = [wave.dtype]
        if torch.is_autocast_enabled(device):
            precision.append(torch.get_autocast_dtype(device))
        paths = []
        for samples, length in zip(wave.cpu(), lengths.tolist()):
            key = hashlib.sha256(repr(precision).encode())
            key.update(_bytes(samples[:length]))
            name = key.hexdigest()
            paths.append(self._model_folder / name[:2] / f"{name}.safetensors")
        return paths

    def _read(self, path: Path, frames: int) -> list[Tensor] | None:
        """Read the layers of one utterance, each [frames, D]; None if not there."""
        try:
            with safe_open(path, framework="pt") as file:
                layers = [file.get_tensor(name) for name in _names(self.ssl.num_layers)]
                found = file.metadata(), {layer.shape for layer in layers}
            wanted = {"utterance": path.stem}, {(frames, self.ssl.width)}
            if found != wanted:
                raise ValueError(f"{found}, not {wanted}")
            return layers
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, OSError) as error:
            if not self._warned:
                logging.warning(
                    f"feature_cache: {path} is damaged ({error}); it and any other like it"
                    " are computed again"
                )
            self._warned = True
            return None

    def _write(self, path: Path, layers: list[Tensor]) -> None:
        # Not save_file: its errors do not say which of the system's they are.
        tensors = dict(zip(_names(len(layers)), layers))
        with replacing(path) as temporary:
            temporary.write_bytes(save(tensors, {"utterance": path.stem}))


@contextmanager
def caching_features(ssl: SSLModel) -> Iterator[None]:
    """Within this context a frozen SSL model keeps its features in its folder, if any.

    Raises:
        UserError: the folder cannot be written to.
    """
    if not ssl.feature_cache:
        yield
        return
    cache = ssl.cache = FeatureCache(ssl.feature_cache, ssl)
    frame = ssl.num_layers * ssl.width * next(ssl.parameters()).element_size()
    gigabytes = frame * SAMPLE_RATE / ssl.stride * 3600 / 1e9
    logging.info(
        f"feature_cache: {ssl.feature_cache} takes about {gigabytes:.1f} GB for every hour"
        " of speech"
    )
    try:
        yield
    finally:
        ssl.cache = None
        logging.info(
            f"feature_cache: features of {cache.found} utterances were found, of"
            f" {cache.computed} computed"
        )


def fingerprint(module: nn.Module) -> str:
    """Hash names, types, shapes and values of all of a module's weights and buffers."""
    key = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        key.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        key.update(_bytes(tensor))
    return key.hexdigest()


def _names(num_layers: int) -> list[str]:
    return [f"layer{number}" for number in range(num_layers)]


def _bytes(tensor: Tensor) -> memoryview:
    """Return a tensor's values as they lie in memory, of whatever type."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())

"""A model file's weights, whoever made it: checked, then loaded into the separator.

Before memory is taken for the network, its shapes are compared with those of the file,
which is read only where it is looked at.
"""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
from espnet2_bspmpnet.errors import UserError, first_line, some_of
from espnet2_bspmpnet.network.old_names import rename_tensors
from espnet2_bspmpnet.sharing.archives import open_zip

PREFIX = "separator."  # of the network's tensors in ESPnet's model files
MOST_DIRECTORY = 64 << 20  # bytes of a model file that are not weights
GET_AGAIN = "copy it again, or name another"

_EMPTY = (torch.empty, torch.zeros, torch.ones)
_DRAWN = (Tensor.normal_, Tensor.uniform_)


def load_separator(conf: dict, model_file: Path, name: str) -> BSPMPNetSeparator:
    """Build the separator and load its weights, all of them and no others.

    Args:
        conf: separator_conf.
        model_file: of ESPnet: a plain table of the whole model's tensors, by torch.save
            or safetensors.
        name: of the configuration, for errors.

    Raises:
        UserError: a damaged or malicious file, or one that is not of this network.
    """
    state = _read_state(model_file)
    shapes = _build(conf, name, on_meta=True)
    rename_tensors(shapes.bsp_mpnet, state, f"{PREFIX}bsp_mpnet.")
    _check_fit(shapes.state_dict(prefix=PREFIX), state, model_file, name)
    _check_values(state, model_file)
    separator = _build(conf, name, on_meta=False)
    separator.load_state_dict(
        {name.removeprefix(PREFIX): tensor for name, tensor in state.items()}
    )
    ssl = separator.bsp_mpnet.ssl
    if ssl is not None and not ssl.has_weights:
        raise UserError(
            f"{model_file}: was saved without its SSL weights and does not say which"
            f" they were; {GET_AGAIN}"
        )
    return separator


class _Blank(TorchFunctionMode):
    """Modules that are built within this context have no values yet.

    Random numbers would be replaced anyway; they take most of the time, and on the meta
    device torch would import its compiler for them.

    Args:
        on_meta: whether the modules take no memory either: they have shapes alone.
    """

    def __init__(self, on_meta: bool):
        super().__init__()
        self.on_meta = on_meta

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _DRAWN or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func is torch.norm_except_dim:  # of weight_norm, whose g is in the file
            weight, _, kept = args
            sizes = [size if i == kept else 1 for i, size in enumerate(weight.shape)]
            return weight.new_empty(sizes)
        if func is torch._weight_norm:  # before each forward it is computed again
            return args[0].detach()
        if self.on_meta and func is Tensor.cpu:
            return args[0]
        if self.on_meta and func in _EMPTY:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def _build(conf: dict, name: str, on_meta: bool) -> BSPMPNetSeparator:
    try:
        with _Blank(on_meta):
            return BSPMPNetSeparator(1, **conf)
    except Exception as error:  # of any kind: options of any kind and size
        raise UserError(
            f"{name}: separator_conf describes no network: {first_line(error)}"
        ) from error


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read names -> tensors, which are mapped into memory.

    Raises:
        UserError: a damaged or malicious file, or one of other contents.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            _check_directory(path)
            state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # of any kind: a damaged pickle is no sensible program
        raise UserError(f"{path}: {_reason(error)}") from error
    if not isinstance(state, Mapping) or not all(map(_is_plain, state.items())):
        raise UserError(
            f"{path}: holds something else than a model's tensors; name a model such as"
            " valid.loss.best.pth (checkpoint.pth is a training's)"
        )
    if sum(tensor.nbytes for tensor in state.values()) > path.stat().st_size:
        raise UserError(f"{path}: claims more values than it has; {GET_AGAIN}")
    return dict(state)


def _check_directory(path: Path) -> None:
    """Refuse what torch.save does not write, and torch would unpack into memory.

    Raises:
        ValueError, zipfile.BadZipFile: it is such a file.
    """
    with open_zip(path) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed")
    rest = [member.file_size for member in members if "/data/" not in member.filename]
    if sum(rest) > MOST_DIRECTORY:
        raise ValueError(f"its directory takes {sum(rest)} bytes")


def _reason(error: Exception) -> str:
    """Say what is wrong, without torch's advice to let the file run what it likes."""
    if foreign := re.search(r"GLOBAL (\S+)", str(error)):
        needed = foreign[1]
        return f"refused: a pickle that would run {needed!r}; only tensors are read"
    text = first_line(error)
    if isinstance(error, zipfile.BadZipFile) or "weights" in text.lower():
        text = "it is no file of tensors that torch.save writes"
    return f"damaged, or no model file ({text}); {GET_AGAIN}"


def _is_plain(item: tuple[object, object]) -> bool:
    name, tensor = item
    return (
        isinstance(name, str)
        and name.isprintable()
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
    )


def _check_fit(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, name: str
) -> None:
    other = [
        f"{key} is {list(found[key].shape)} in place of {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    wrong = [
        f"{len(keys)} {problem} ({some_of(keys, 3)})"
        for problem, keys in (
            ("missing", expected.keys() - found.keys()),
            ("foreign", found.keys() - expected.keys()),
            ("of another shape", other),
        )
        if keys
    ]
    if wrong:
        total = sum(math.prod(tensor.shape) for tensor in expected.values())
        raise UserError(
            f"{path}: not the weights of the network that {name} describes, which has"
            f" {total} values; tensors: {', '.join(wrong)}"
        )


def _check_values(state: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise UserError(
                f"{path}: {name} has values that are NaN or infinite; name the model of"
                " another epoch"
            )

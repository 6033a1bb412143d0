"""Where pretrained weights come from: a file, a folder, or the Hugging Face hub.

Whatever wrote them (s3prl's conversion, fairseq, unilm, transformers), the tensors come
back by the names of s3prl's modules, which are fairseq's, without those that only
pretraining needs.  No code from a file is ever run: pickles are read for their tensors
and plain values alone.
"""

import json
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor

from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.files.download import check_arrived, checksum, explain, fetch_rest
from espnet2_bspmpnet.ssl.architectures import NETWORK_OPTIONS

REPOSITORY = "s3prl/converted_ckpts"  # on the Hugging Face hub
RELEASES = {
    "wavlm_base": "wavlm_base.pt",
    "wavlm_base_plus": "wavlm_base_plus.pt",
    "wavlm_large": "wavlm_large.pt",
    "data2vec_base_960": "audio_base_ls.pt",
    "data2vec_large_ll60k": "vox_pretrained.pt",
    "hubert_base": "hubert_base_ls960.pt",
    "hubert_large_ll60k": "hubert_large_ll60k.pt",
    "wav2vec2_base_960": "wav2vec_small.pt",
    "wav2vec2_large_ll60k": "wav2vec_vox_new.pt",
}

# transformers' names of a network's options -> fairseq's.
_TRANSFORMERS_OPTIONS = {
    "conv_bias": "conv_bias",
    "num_hidden_layers": "encoder_layers",
    "hidden_size": "encoder_embed_dim",
    "intermediate_size": "encoder_ffn_embed_dim",
    "num_attention_heads": "encoder_attention_heads",
    "do_stable_layer_norm": "layer_norm_first",
    "hidden_act": "activation_fn",
    "num_conv_pos_embeddings": "conv_pos",
    "num_conv_pos_embedding_groups": "conv_pos_groups",
    "num_buckets": "num_buckets",
    "max_bucket_distance": "max_distance",
}
_TRANSFORMERS_FILES = ("model.safetensors", "pytorch_model.bin")

# First parts of the names of what only pretraining, or a head for a task, needs.
_PRETRAINING = {
    "mask_emb",
    "masked_spec_embed",
    "quantizer",
    "input_quantizer",
    "project_q",
    "project_hid",
    "project_inp",
    "final_proj",
    "label_embs_concat",
    "target_glu",
    "lm_head",
    "_ema",
}
# From transformers' names to fairseq's, in this order.
_RENAMES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^feature_projection\.layer_norm\.", "layer_norm."),
        (r"^feature_projection\.projection\.", "post_extract_proj."),
        (r"(conv_layers\.\d+)\.conv\.", r"\1.0."),
        (r"pos_conv_embed\.conv\.", "pos_conv.0."),
        (r"pos_conv_embed\.layers\.(\d+)\.conv\.", r"pos_conv.\1.0."),
        (r"parametrizations\.weight\.original0$", "weight_g"),
        (r"parametrizations\.weight\.original1$", "weight_v"),
        (r"(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
        (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
        (r"\.feed_forward\.output_dense\.", ".fc2."),
        (r"\.attention\.gru_rel_pos_const$", ".attention.grep_a"),
        (r"\.attention\.gru_rel_pos_linear\.", ".attention.grep_linear."),
        (r"\.attention\.rel_attn_embed\.", ".attention.relative_attention_bias."),
        (r"\.attention\.", ".self_attn."),
    )
]
_TRANSFORMERS_PREFIX = re.compile(r"^(wavlm|wav2vec2|hubert|data2vec_audio)\.")


class Weights(NamedTuple):
    """Pretrained weights, whatever file they came from."""

    tensors: dict[str, Tensor]  # by the names of s3prl's modules
    options: dict[str, Any]  # fairseq's, as far as the file states them


def find_checkpoint(checkpoint: str, upstream: str) -> Path:
    """Return the file or folder with the weights; download it where it is a name.

    Args:
        checkpoint: a local file or folder, or the upstream's name for its released
            weights, which are downloaded once into the Hugging Face hub's cache.  (For
            a folder of such a name write ./NAME.)
        upstream: the name of the model that the weights are for.

    Raises:
        UserError: nothing of that name, weights of another upstream, or no download.
    """
    if checkpoint in RELEASES:
        if checkpoint != upstream:
            raise UserError(
                f"checkpoint: {checkpoint!r} are the weights of another model than"
                f" upstream: {upstream!r}; make the two the same"
            )
        return _download(RELEASES[upstream])
    path = Path(checkpoint).expanduser()
    if not path.exists():
        raise UserError(
            f"checkpoint: {checkpoint} does not exist; give the file or folder of the"
            f" pretrained weights, {upstream!r} to download them, or 'random'"
        )
    return path


def read_weights(path: Path) -> Weights:
    """Read pretrained weights, running no code from the file.

    Args:
        path: s3prl's converted format ({"model_cfg", "task_cfg", "model_weight"}), a
            release of fairseq or unilm ({"cfg" or "args", "model"}), transformers'
            folder with config.json, or one of its files of tensors alone.

    Raises:
        UserError: a damaged file, another format, or a pickle that needs foreign code.
    """
    if path.is_dir():
        states, options = _read_tensors(_weights_file(path)), _folder_options(path)
        return Weights(_by_fairseq_names(states, path), options)
    states = _read_tensors(path)
    if "model_weight" in states:
        stated = _as_dict(states.get("model_cfg")) | _as_dict(states.get("task_cfg"))
    else:
        stated = _release_options(states) if "model" in states else {}
    states = states.get("model_weight", states.get("model", states))
    options = {name: stated[name] for name in NETWORK_OPTIONS if name in stated}
    return Weights(_by_fairseq_names(states, path), options)


def checkpoint_sha256(path: Path) -> str:
    """Return the sha256 of a file with weights, or of the one in a folder."""
    return checksum(_weights_file(path) if path.is_dir() else path, "sha256")


def _weights_file(folder: Path) -> Path:
    for name in _TRANSFORMERS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"checkpoint: {folder} has neither {' nor '.join(_TRANSFORMERS_FILES)}; give"
        " a folder as transformers' save_pretrained writes it, or a file"
    )


def _read_tensors(path: Path) -> Mapping[str, Any]:
    """Return what a file holds, which is a table of names in every format."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # An old fairseq file has its options as a Namespace, which is a bare table.
        with torch.serialization.safe_globals([Namespace]):
            states = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind: a damaged pickle is no sensible program
        raise _pickle_error(path, error) from error
    if not isinstance(states, Mapping):
        raise _unreadable(path, f"it holds a {type(states).__name__}")
    return states


def _pickle_error(path: Path, error: Exception) -> UserError:
    """Say what is wrong, without torch's advice to let the file run what it likes."""
    if not isinstance(error, UnpicklingError):
        return _unreadable(path, first_line(error))
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    if not foreign:
        return _unreadable(path, "it is no file of tensors")
    return UserError(
        f"checkpoint: {path} is a pickle that needs {foreign[1]}, but only tensors and"
        " plain values are read, as a pickle can run any program; where you trust it,"
        " convert it with s3prl (s3prl/upstream/*/convert.py, beside fairseq), or give"
        " the upstream's name for the converted release"
    )


def _unreadable(path: Path, reason: object) -> UserError:
    return UserError(
        f"checkpoint: {path} is damaged or holds no pretrained weights: {reason};"
        " copy or download it again"
    )


def _by_fairseq_names(states: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Rename tensors from transformers' names and drop those of pretraining.

    Names that are fairseq's already stay, and so do unknown ones: whoever loads the
    tensors has to find and name what does not belong.
    """
    if not isinstance(states, Mapping):
        raise _unreadable(path, f"its weights are a {type(states).__name__}")
    names = {name: _TRANSFORMERS_PREFIX.sub("", str(name)) for name in states}
    # Base models have one group norm, after the first convolution; the others a layer
    # norm after each, between two transpositions.
    layer_norms = "feature_extractor.conv_layers.1.layer_norm.weight" in names.values()
    norm = (
        re.compile(r"(conv_layers\.\d+)\.layer_norm\."),
        r"\1.2.1." if layer_norms else r"\1.2.",
    )
    tensors = {}
    for original, name in names.items():
        if name.split(".")[0] in _PRETRAINING:
            continue
        if not isinstance(states[original], Tensor):
            raise _unreadable(path, f"{original!r} is no tensor")
        for pattern, replacement in (norm, *_RENAMES):
            name = pattern.sub(replacement, name)
        tensors[name] = states[original]
    if not tensors:
        raise _unreadable(path, "no tensors in it")
    return tensors


def _as_dict(options: Any) -> dict[str, Any]:
    """Return a table of options as a dictionary, and anything else as an empty one."""
    if isinstance(options, Namespace):
        return vars(options)
    return dict(options) if isinstance(options, Mapping) else {}


def _release_options(states: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a release: unilm's are flat, fairseq's by parts, or in "args"."""
    options = _as_dict(states.get("cfg")) or _as_dict(states.get("args"))
    if isinstance(options.get("model"), Mapping | Namespace):
        return _as_dict(options["model"]) | _as_dict(options.get("task"))
    return options


def _folder_options(folder: Path) -> dict[str, Any]:
    """Options from transformers' config.json and preprocessor_config.json, if there."""
    config = _read_json(folder / "config.json")
    options = {
        ours: config[theirs]
        for theirs, ours in _TRANSFORMERS_OPTIONS.items()
        if theirs in config
    }
    shapes = [config.get(f"conv_{what}", []) for what in ("dim", "kernel", "stride")]
    if all(shapes):
        options["conv_feature_layers"] = str(list(zip(*shapes, strict=False)))
    if config.get("model_type") == "data2vec-audio":  # which has no option for these
        options["extractor_mode"] = "layer_norm"
        options["layer_norm_first"] = False
        options["pos_conv_depth"] = config["num_conv_pos_embeddings"]
        options["conv_pos"] *= config["conv_pos_kernel_size"]  # that of all together
    elif "feat_extract_norm" in config:
        grouped = config["feat_extract_norm"] == "group"
        options["extractor_mode"] = "default" if grouped else "layer_norm"
    # Base models were trained on plain waveforms, though some of their files ask for
    # normalised ones: their group norm makes the two all but the same.
    asked = _read_json(folder / "preprocessor_config.json").get("do_normalize")
    if asked is not None and options.get("extractor_mode") == "layer_norm":
        options["normalize"] = asked
    return options


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise _unreadable(path, f"it holds a {type(content).__name__}")
    return content


def _download(filename: str) -> Path:
    """Return a release from the hub's cache; ask the network only where it is not.

    Raises:
        UserError: the hub cannot be reached, has no such file, sends a damaged one, or
            there is no space for it.
    """
    # Half a second, which only those who use released weights need to wait.
    import httpx2
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(REPOSITORY, filename, local_files_only=True))
    except LocalEntryNotFoundError:
        url = hf_hub_url(REPOSITORY, filename)
    try:
        _fetch(url)
        return Path(hf_hub_download(REPOSITORY, filename))  # it finds what was fetched
    except (OSError, httpx2.HTTPError) as error:
        raise UserError(
            f"checkpoint: cannot download {url}: {explain(error)}; what has arrived is"
            " kept for the next run to continue with, or fetch the file elsewhere and"
            " give its path; HF_HOME names a folder on another disk, HF_ENDPOINT a"
            " mirror"
        ) from error


def _fetch(url: str) -> None:
    """Fetch a file into the hub's cache, where hf_hub_download then finds it.

    That function itself starts again from nothing when it was broken off, and does not
    compare the sha256.
    """
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import WeakFileLock

    remote = get_hf_file_metadata(url)
    if not re.fullmatch(r"[\w-]+", remote.etag or ""):
        raise OSError("this server does not say which version it has; it is no hub")
    cache = Path(constants.HF_HUB_CACHE)
    repository = repo_folder_name(repo_id=REPOSITORY, repo_type="model")
    blob = cache / repository / "blobs" / remote.etag
    lock = cache / ".locks" / repository / f"{remote.etag}.lock"
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):  # another process may be about the same file
        if not blob.exists():
            part = blob.with_name(f"{blob.name}.incomplete")
            fetch_rest(
                url,
                part,
                remote.size,
                fix="free some space, or name a folder on another disk by HF_HOME",
            )
            if re.fullmatch(r"[0-9a-f]{64}", remote.etag):  # as it is for large files
                check_arrived(part, url, f"sha256:{remote.etag}")
            part.replace(blob)

"""DNSMOS: the ratings that listeners would give to speech, without a reference.

C. Reddy, V. Gopal and R. Cutler, "DNSMOS P.835" (ICASSP 2022).  The networks are those
that Microsoft publishes in the package ``speechmos``, which runs them over windows of
nine seconds that start one second apart, each from scratch.  Here what these windows have
in common is computed once, by convolutions that skip zeros.  See docs/dnsmos.md.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from espnet2_bspmpnet.errors import MachineError
from espnet2_bspmpnet.measures.sparse_convolution import Convolution, convolution, run
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

HOP = 160
WINDOW_SECONDS = 9.01
WINDOW = int(WINDOW_SECONDS * SAMPLE_RATE)
ROWS = 900  # spectra in a window
ROWS_A_SECOND = SAMPLE_RATE // HOP

# The steps that windows share: before the third pooling, whose pairs of rows differ
# between windows that start an odd number of seconds apart.
SHARED_STEPS = 8
STRIDE = 4  # rows that become one row in them
MARGIN = 12  # rows that a border 10 rows away changes, rounded up to the stride
EDGE = MARGIN // STRIDE
BLOCK = 200  # rows that are computed at a time: 40 MB

# From the network's outputs to ratings, highest power first.
POLYNOMIALS = (
    (-0.08397278, 1.22083953, 0.0052439),  # speech
    (-0.13166888, 1.60915514, -0.39604546),  # background
    (-0.06766283, 1.11546468, 0.04602535),  # the whole
)

MEL_BANDS = 120
MEL_WINDOW = 321
MEL_RANGE = 80.0  # dB below the loudest


class _Network(NamedTuple):
    """A network as its file describes it."""

    transform: np.ndarray | None  # frames [320] to real and imaginary spectra [322]
    steps: list[Convolution | None]  # see `sparse_convolution.run`
    layers: list[tuple[np.ndarray, np.ndarray]]  # fully connected: weights and bias


def _read(path: Path) -> _Network:
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(path).graph
    tensors = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    transforms, steps, layers = [], [], []
    for node in graph.node:
        constants = [tensors[name] for name in node.input if name in tensors]
        if node.op_type == "Conv" and constants[0].ndim == 3:
            transforms.append(constants[0][:, :, 0].T)
        elif node.op_type == "Conv":
            steps.append(convolution(*constants, 0.0 if steps else -np.inf))
        elif node.op_type == "MaxPool":
            steps.append(None)
        elif node.op_type == "MatMul":
            (add,) = (n for n in graph.node if node.output[0] in n.input)
            (bias,) = (tensors[name] for name in add.input if name in tensors)
            layers.append((constants[0], bias))
    transform = np.concatenate(transforms, axis=1) if transforms else None
    return _Network(transform, steps, layers)


@cache
def _networks() -> tuple[_Network, _Network]:
    found = find_spec("speechmos")
    if found is None or find_spec("onnx") is None:
        raise MachineError(
            "DNSMOS needs the packages speechmos and onnx; install them with "
            "'pip install speechmos onnx' or leave the DNSMOS metrics out"
        )
    folder = Path(found.submodule_search_locations[0]) / "dnsmos_models"
    return _read(folder / "sig_bak_ovr.onnx"), _read(folder / "model_v8.onnx")


def _decide(network: _Network, values: np.ndarray) -> np.ndarray:
    values = values.max(axis=(0, 1))
    for weights, bias in network.layers:
        values = np.maximum(values, 0.0) @ weights + bias
    return values


def _log_power(transform: np.ndarray, wave: np.ndarray, rows: int) -> np.ndarray:
    length = transform.shape[0]
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::HOP][:rows]
    real, imaginary = np.split(frames @ transform, 2, axis=1)
    return np.log10(np.maximum(real**2 + imaginary**2, 1e-12))


def _p835(network: _Network, wave: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    # Ratings [windows, 3], in the order of POLYNOMIALS.
    rows = starts[-1] * ROWS_A_SECOND + ROWS
    spectra = _log_power(network.transform, wave, rows)  # [rows, 161]
    shared, rest = network.steps[:SHARED_STEPS], network.steps[SHARED_STEPS:]

    def activations(begin: int, end: int, first: int, last: int) -> np.ndarray:
        # Of rows begin to end, as if there were none before first and from last on.
        before, after = max(begin - MARGIN, first), min(end + MARGIN, last)
        found = run(shared, spectra[before:after, :, None])
        return found[(begin - before) // STRIDE : (end - before) // STRIDE]

    blocks = [(begin, min(begin + BLOCK, rows)) for begin in range(0, rows, BLOCK)]
    whole = np.concatenate([activations(*block, 0, rows) for block in blocks])
    ratings = []
    for start in starts:
        first = start * ROWS_A_SECOND
        last = first + ROWS
        window = whole[first // STRIDE : last // STRIDE].copy()  # [225, 40, 32]
        if first > 0:
            window[:EDGE] = activations(first, first + MARGIN, first, last)
        if last < rows:
            window[-EDGE:] = activations(last - MARGIN, last, first, last)
        raw = _decide(network, run(rest, window))
        ratings.append(list(map(np.polyval, POLYNOMIALS, raw)))
    return np.array(ratings)


@cache
def _mel_bands() -> np.ndarray:
    from librosa.filters import mel

    return mel(sr=SAMPLE_RATE, n_fft=MEL_WINDOW, n_mels=MEL_BANDS).T  # [161, 120]


def _mel_decibels(wave: np.ndarray) -> np.ndarray:
    # [rows, 120], from -1 to 1 for the loudest; as librosa makes it.
    from scipy.fft import rfft

    padded = np.pad(wave, MEL_WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, MEL_WINDOW)[::HOP]
    spectra = rfft(frames * np.hanning(MEL_WINDOW + 1)[:-1].astype(np.float32))
    power = (spectra.real**2 + spectra.imag**2) @ _mel_bands()
    decibels = 10.0 * np.log10(np.maximum(power, 1e-10))
    below = np.maximum(decibels - decibels.max(), -MEL_RANGE)
    return ((below + MEL_RANGE / 2) / (MEL_RANGE / 2)).astype(np.float32)


def _p808(network: _Network, wave: np.ndarray, starts: Sequence[int]) -> float:
    ratings = []
    for start in starts:
        mels = _mel_decibels(wave[start * SAMPLE_RATE :][: ROWS * HOP])
        ratings.append(_decide(network, run(network.steps, mels[:, :, None]))[0])
    return float(np.mean(ratings))


def _window_starts(length: int) -> list[int]:
    # In seconds.  speechmos leaves out windows whose end it rounds to a sample less, of
    # which the 8th is the first: so do we.
    count = int(length // SAMPLE_RATE - WINDOW_SECONDS) + 1
    return [
        start
        for start in range(count)
        if int((start + WINDOW_SECONDS) * SAMPLE_RATE) == start * SAMPLE_RATE + WINDOW
    ]


class Ratings(NamedTuple):
    """Mean opinions about a signal, on a scale from 1 to 5."""

    ovrl: float  # overall quality (P.835)
    sig: float  # how undistorted the speech is (P.835)
    bak: float  # how unobtrusive the background is (P.835)
    p808: float  # overall quality as asked for in P.808


def rate_speech(wave: np.ndarray) -> Ratings:
    """Rate samples [L] at 16 kHz within [-1, 1]; their level counts, as for listeners.

    Shorter ones are repeated until they last nine seconds.  A MachineError says that the
    networks are not installed.
    """
    assert 0.0 < np.abs(wave).max() <= 1.0, np.abs(wave).max()
    wave = wave.astype(np.float32)
    while len(wave) < WINDOW:
        wave = np.append(wave, wave)
    starts = _window_starts(len(wave))
    p835, p808 = _networks()
    sig, bak, ovrl = np.mean(_p835(p835, wave, starts), axis=0)
    return Ratings(float(ovrl), float(sig), float(bak), _p808(p808, wave, starts))

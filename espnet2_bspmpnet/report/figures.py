"""Figures, drawn from arrays; each has one panel, so that a page can wrap them."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from espnet2_bspmpnet.measures.intervals import mean_intervals

Drawn = TypeVar("Drawn", Figure, bytes)
INK, FAINT = "#222222", "#6b6b6b"
# Blue, orange, green, purple, brown: told apart by colour-blind people, and dark enough
# for text on white. Markers differ, too.
COLOURS = ("#0064a8", "#c24e00", "#00785a", "#9a3f86", "#6b4f10")
MARKERS = ("o", "s", "^", "D", "v")
STYLE = {
    "font.family": "DejaVu Sans",  # matplotlib brings it
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9a9a9a",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "legend.handletextpad": 0.3,
    "lines.linewidth": 1.8,
}
WIDTH, HEIGHT = 4.8, 3.6  # inches
DPI = 160
UNITS = {"SI_SNR": "dB", "SDR": "dB", "SSNR": "dB"}
# Of spectrograms, in dB.
IMAGE = {"cmap": "magma", "vmin": -80.0, "vmax": 0.0, "interpolation": "antialiased"}
IMAGE |= {"origin": "lower", "aspect": "auto"}
SNR_GROUPS = 8  # of more different SNRs, or of hardly any that are equal,
SNR_STEP = 2.5  # those are averaged that are equal when rounded to so many dB
LABELS_APART = 12.0  # points


def _styled(draw: Callable[..., Drawn]) -> Callable[..., Drawn]:
    """Draw in this module's style, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def styled(*args, **kwargs) -> Drawn:
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
            return draw(*args, **kwargs)

    return styled


def _axes(
    title: str, x: str, y: str, width: float = WIDTH, height: float = HEIGHT
) -> Axes:
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot(title=title, xlabel=x, ylabel=y)


def _note(
    axes: Axes, text: str, place: tuple, offset: tuple[int, int], **options
) -> None:
    """Write a small note so many points beside a place."""
    faint = {"fontsize": 8.5, "color": FAINT, "ha": "center"}
    axes.annotate(text, place, offset, textcoords="offset points", **faint, **options)


def _shown(metric: str) -> str:
    return metric.replace("_", "-")


def _whole_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


@_styled
def png(figure: Figure) -> bytes:
    """Encode a figure; the same figure is the same file."""
    from PIL import Image

    figure.set_dpi(DPI)
    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    encoded = io.BytesIO()
    # A palette is enough for one colour map, at a third of the size; chosen by coverage,
    # as by frequency the map would have hardly a bright colour.
    palette = drawn.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(encoded, "PNG", optimize=True, dpi=(DPI, DPI))
    return encoded.getvalue()


@_styled
def before_and_after(
    metric: str, noisy: np.ndarray, systems: Mapping[str, np.ndarray], title: str
) -> Figure:
    """Draw a metric of each utterance [N], noisy against the systems' (Fig. 4a)."""
    names = [f"{_shown(metric)} of {one} speech" for one in ("noisy", "enhanced")]
    axes = _axes(title, *names, height=1.08 * WIDTH)
    for place, (system, values) in enumerate(systems.items()):
        known = np.isfinite(noisy) & np.isfinite(values)
        better = np.sum(values[known] > noisy[known])
        label = f"{system}: {better} of {known.sum()} better"
        # Only the first is filled: what lies below the others shows through.
        face, width = (_colour(place), 0) if place == 0 else ("none", 1.2)
        edge = {"facecolors": face, "edgecolors": _colour(place), "linewidths": width}
        point = {"marker": _marker(place), "s": _size(len(values)), "alpha": 0.8}
        axes.scatter(noisy[known], values[known], label=label, **point, **edge)
    _add_diagonal(axes, np.concatenate([noisy, *systems.values()]))
    axes.locator_params(nbins=6)
    axes.figure.legend(loc="outside lower left", markerscale=1.3)
    return axes.figure


def _add_diagonal(axes: Axes, values: np.ndarray) -> None:
    lowest, highest = np.nanmin(values), np.nanmax(values)
    margin = 0.06 * (highest - lowest) or 0.1
    ends = (lowest - margin, highest + margin)
    axes.plot(ends, ends, color=FAINT, linewidth=1.0, zorder=1)
    axes.set(xlim=ends, ylim=ends, box_aspect=1)
    middle = ends[0] + 0.80 * (ends[1] - ends[0])
    turned = {"rotation": 45, "rotation_mode": "anchor", "va": "top"}
    _note(axes, "no change", (middle, middle), (0, -4), **turned)


@_styled
def improvement_by_snr(
    metric: str, snr: np.ndarray, systems: Mapping[str, np.ndarray], title: str
) -> Figure:
    """Draw a metric's improvements [N] against the noisy speech's SNR in dB [N].

    Each system has at least one improvement that is known together with its SNR.
    """
    unit = f" ({UNITS[metric]})" if metric in UNITS else ""
    axes = _axes(title, "SNR of noisy speech (dB)", f"gain in {_shown(metric)}{unit}")
    axes.axhline(0.0, color=FAINT, linewidth=1.0, zorder=1)
    ends = []
    for place, (system, gains) in enumerate(systems.items()):
        known = np.isfinite(snr) & np.isfinite(gains)
        style = {"color": _colour(place), "marker": _marker(place)}
        points = {"s": 0.7 * _size(len(gains)), "alpha": 0.3, "linewidths": 0}
        axes.scatter(snr[known], gains[known], **points, **style)
        centres, means, intervals = group_means(snr[known], gains[known])
        # A little aside, so that whiskers do not lie on each other.
        aside = 0.012 * np.ptp(snr[known]) * (place - (len(systems) - 1) / 2)
        ranges = np.abs(intervals.T - means)
        whiskers = {"ms": 5, "capsize": 2.5, "elinewidth": 1.2}
        axes.errorbar(centres + aside, means, ranges, **whiskers, **style)
        ends.append((means[-1], system, _colour(place)))
    _label_ends(axes, ends)
    return axes.figure


def group_means(
    snr: np.ndarray, gains: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average gains [N] over utterances of similar SNR [N].

    Returns SNRs [G], means [G] and their 95 % intervals [G, 2], NaN for lone utterances.
    """
    groups = snr
    if len(np.unique(snr)) > min(SNR_GROUPS, len(snr) / 2):
        groups = SNR_STEP * np.round(snr / SNR_STEP)
    members = [groups == group for group in np.unique(groups)]
    centres = np.array([snr[own].mean() for own in members])
    means = np.array([gains[own].mean() for own in members])
    intervals = [mean_intervals(gains[own, None])[0] for own in members]
    return centres, means, np.array(intervals).reshape(-1, 2)


@_styled
def layer_weights(weights: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw path -> number of each SSL layer -> its weight (Fig. 4b)."""
    axes = _axes("Weights of SSL layers", "layer of the SSL model", "weight")
    ends = []
    for place, (path, own) in enumerate(weights.items()):
        layers, values = list(own), list(own.values())
        axes.plot(layers, values, color=_colour(place), marker=_marker(place), ms=5)
        ends.append((values[-1], path, _colour(place)))
    uniform = 1.0 / len(layers)
    axes.axhline(uniform, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    ends.append((uniform, "uniform", FAINT))
    highest = max(max(own.values()) for own in weights.values())
    axes.set_ylim(0.0, 1.15 * highest)
    _whole_numbers(axes)
    if len(layers) <= 12:
        axes.set_xticks(layers)
    _label_ends(axes, ends)
    return axes.figure


@_styled
def training_curves(
    title: str, curves: Mapping[str, Mapping[int, float]], chosen: int | None = None
) -> Figure:
    """Draw "train" and "valid" -> epoch -> value, and mark the epoch of the model used."""
    axes = _axes(title, "epoch", "", height=0.8 * HEIGHT)
    colours = {"train": _colour(0), "valid": _colour(1)}
    ends = []
    for phase, curve in curves.items():
        epochs, values = list(curve), list(curve.values())
        style = {"color": colours.get(phase, FAINT), "ms": 3.5}
        axes.plot(epochs, values, marker="o" if len(epochs) <= 30 else None, **style)
        ends.append((values[-1], phase, style["color"]))
    if chosen is not None:
        axes.axvline(chosen, color=FAINT, linewidth=1.0, linestyle=(0, (1, 2)))
        top = {"xycoords": ("data", "axes fraction")}
        _note(axes, "model used", (chosen, 1.0), (0, 2), **top)
        axes.set_title(title, pad=18)
    _whole_numbers(axes)
    _label_ends(axes, ends)
    return axes.figure


@_styled
def spectrogram(title: str, wave: np.ndarray, rate: int, loudest: float) -> Figure:
    """Draw the power of samples [L]; 0 dB is `loudest`, `peak_power` of all to compare."""
    power = power_spectrogram(wave, rate)
    size = (0.75 * WIDTH, 0.62 * HEIGHT)
    axes = _axes(title, "time (s)", "frequency (kHz)", *size)
    decibels = 10.0 * np.log10(np.maximum(power / loudest, 1e-12))
    extent = (0.0, len(wave) / rate, 0.0, rate / 2000)
    image = axes.imshow(decibels, extent=extent, **IMAGE)
    axes.grid(False)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02, aspect=24, ticks=[-80, -40, 0])
    bar.ax.set_title("dB", fontsize=9, fontweight="normal", loc="left", color=FAINT)
    bar.outline.set_visible(False)
    return axes.figure


def power_spectrogram(wave: np.ndarray, rate: int) -> np.ndarray:
    """Compute the power in windows of 32 ms around 0, 8, 16 ms ... [bins, frames]."""
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    window = hann(round(0.032 * rate), sym=False)
    hop = round(0.008 * rate)
    padded = np.pad(wave, (0, max(0, len(window) - len(wave))))
    frames = len(wave) // hop + 1
    # So scaled that a tone has the same power at all sampling rates.
    transform = ShortTimeFFT(window, hop, rate, scale_to="magnitude")
    return transform.spectrogram(padded, p0=0, p1=frames)


def peak_power(recordings: Sequence[tuple[np.ndarray, int]]) -> float:
    """Find the highest power in the spectrograms of (wave [L], rate); never zero."""
    return max(float(power_spectrogram(*one).max()) for one in recordings) or 1.0


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


def _size(count: int) -> float:
    return float(np.clip(1800.0 / max(count, 1), 8.0, 36.0))  # smaller for more points


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write (height, name, colour) beside right ends, once the axes' limits are final."""
    lowest, highest = axes.get_ylim()
    points = axes.figure.get_figheight() * 72 * 0.75  # about the height of the axes
    ends = sorted(ends)
    wanted = np.array([end for end, _, _ in ends]) * points / (highest - lowest)
    places = wanted.copy()
    for place in range(1, len(places)):
        places[place] = max(places[place], places[place - 1] + LABELS_APART)
    places -= (places - wanted).mean()  # half of the shift up, half down
    beside = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    bold = {"va": "center", "fontsize": 9.5, "fontweight": "bold"}
    for (end, name, colour), shift in zip(ends, places - wanted):
        options = {"color": colour, "annotation_clip": False, **beside, **bold}
        axes.annotate(name, (1.0, end), (4, shift), **options)

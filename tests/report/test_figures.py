"""Figures show the numbers they were given, and nothing else."""

import io

import numpy as np
import pytest

from espnet2_bspmpnet.report import figures

RATE = 16000


def words(figure) -> list[str]:
    """All that is written in a figure's axes and legends."""
    (axes, *_) = figure.axes
    written = [text.get_text() for text in axes.texts]
    for legend in figure.legends:
        written += [text.get_text() for text in legend.get_texts()]
    return written


def points(axes) -> list[np.ndarray]:
    """The points of each cloud [N, 2]."""
    return [np.asarray(cloud.get_offsets()) for cloud in axes.collections]


def heights(axes) -> dict[str, float]:
    """At which height of the figure, in pixels, each word lies."""
    axes.figure.canvas.draw()
    return {text.get_text(): text.get_window_extent().y0 for text in axes.texts}


def test_before_and_after_has_a_point_for_each_utterance_with_both_values():
    noisy = np.array([1.5, 2.0, np.nan, 3.0])
    ours = np.array([2.5, 1.9, 2.0, np.nan])
    other = np.array([1.6, 2.5, 2.0, 3.5])
    figure = figures.before_and_after(
        "PESQ", noisy, {"ours": ours, "other": other}, "PESQ by utterance"
    )
    (axes,) = figure.axes
    first, second = points(axes)
    np.testing.assert_allclose(first, [[1.5, 2.5], [2.0, 1.9]])
    np.testing.assert_allclose(second, [[1.5, 1.6], [2.0, 2.5], [3.0, 3.5]])
    assert "ours: 1 of 2 better" in words(figure)
    assert "other: 3 of 3 better" in words(figure)
    # The diagonal parts better from worse.
    (diagonal,) = axes.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[0] < 1.5 and axes.get_xlim()[1] > 3.5
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "PESQ of noisy speech",
        "PESQ of enhanced speech",
    )


def test_gains_are_drawn_over_the_snr_with_the_means_of_equal_ones():
    snr = np.array([0.0, 0.0, 0.0, 10.0, 10.0, np.nan])
    gains = np.array([1.0, 2.0, 3.0, 0.5, np.nan, 9.0])
    figure = figures.improvement_by_snr("SI_SNR", snr, {"ours": gains}, "gain")
    (axes,) = figure.axes
    known = [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [10.0, 0.5]]
    np.testing.assert_allclose(points(axes)[0], known)
    (means,) = [line for line in axes.lines if line.get_linestyle() == "-"][1:]
    assert list(means.get_xdata()) == [0.0, 10.0]
    assert list(means.get_ydata()) == [2.0, 0.5]
    assert axes.get_ylabel() == "gain in SI-SNR (dB)"
    assert words(figure) == ["ours"]


def test_many_different_snrs_are_averaged_in_steps():
    snr = np.array([0.1, -0.3, 0.2, 2.4, 2.6, 10.0])
    gains = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 7.0])
    centres, means, intervals = figures.group_means(snr, gains)
    np.testing.assert_allclose(centres, [0.0, 2.5, 10.0], atol=1e-9)
    np.testing.assert_allclose(means, [2.0, 5.0, 7.0])
    np.testing.assert_allclose(intervals[1], [4.0, 6.0])
    assert np.isnan(intervals[2]).all()


def test_layer_weights_stand_above_their_layers_beside_uniform_ones():
    layers = [0, 3, 6, 9]
    weights = {
        "magnitude": dict(zip(layers, [0.4, 0.3, 0.2, 0.1])),
        "phase": dict(zip(layers, [0.1, 0.2, 0.3, 0.4])),
    }
    figure = figures.layer_weights(weights)
    (axes,) = figure.axes
    magnitude, phase, uniform = axes.lines
    assert list(magnitude.get_xdata()) == [0, 3, 6, 9]
    assert list(magnitude.get_ydata()) == [0.4, 0.3, 0.2, 0.1]
    assert list(phase.get_ydata()) == [0.1, 0.2, 0.3, 0.4]
    assert set(uniform.get_ydata()) == {0.25}
    assert axes.get_ylim()[0] == 0.0
    assert sorted(words(figure)) == ["magnitude", "phase", "uniform"]


def test_curves_are_drawn_by_epoch_and_the_chosen_one_is_marked():
    curves = {"train": {1: 3.0, 2: 2.0, 3: 1.0}, "valid": {2: 2.5, 3: 2.0}}
    figure = figures.training_curves("Loss", curves, chosen=2)
    (axes,) = figure.axes
    train, valid, chosen = axes.lines
    assert dict(zip(train.get_xdata(), train.get_ydata())) == curves["train"]
    assert dict(zip(valid.get_xdata(), valid.get_ydata())) == curves["valid"]
    assert set(chosen.get_xdata()) == {2}
    assert words(figure) == ["model used", "train", "valid"]
    assert "model used" not in words(figures.training_curves("Loss", curves))


def test_names_of_lines_that_end_together_do_not_cover_each_other():
    ends = {name: {1: 1.0, 2: 1.0} for name in ("train", "valid", "third")}
    (axes,) = figures.training_curves("Loss", ends).axes
    tops = sorted(heights(axes).values())
    size = axes.texts[0].get_window_extent().height
    assert np.diff(tops).min() > 0.7 * size


def test_a_tone_is_a_line_at_its_frequency_and_time_fits_the_recording():
    wave = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(2 * RATE) / RATE)
    loudest = figures.peak_power([(wave, RATE), (0.1 * wave, RATE)])
    figure = figures.spectrogram("clean", 0.1 * wave, RATE, loudest)
    image = figure.axes[0].images[0]
    decibels = np.asarray(image.get_array())
    left, right, lowest, highest = image.get_extent()
    assert (left, right, lowest, highest) == (0.0, 2.0, 0.0, 8.0)
    line = decibels[:, decibels.shape[1] // 2].argmax() / (len(decibels) - 1) * highest
    assert line == pytest.approx(2.0, abs=0.02)
    # On the common scale a tenth of the amplitude is 20 dB less.
    assert decibels.max() == pytest.approx(-20.0, abs=0.2)
    assert image.get_clim() == (-80.0, 0.0)


def test_recordings_of_other_rates_have_the_same_scale():
    tones = [
        (np.sin(2 * np.pi * 1000 * np.arange(rate) / rate), rate)
        for rate in (8000, 16000, 48000)
    ]
    peaks = [figures.peak_power([tone]) for tone in tones]
    np.testing.assert_allclose(peaks, peaks[0], rtol=0.02)


@pytest.mark.parametrize("samples", [1, 100, 600])
def test_silence_and_very_short_recordings_can_be_drawn(samples):
    wave = np.zeros(samples, np.float32)
    loudest = figures.peak_power([(wave, RATE)])
    assert figures.png(figures.spectrogram("noisy", wave, RATE, loudest))


def test_a_png_is_the_same_whatever_the_users_settings():
    import matplotlib
    from PIL import Image

    def draw() -> bytes:
        curves = {"train": {1: 1.0, 2: 0.5}}
        return figures.png(figures.training_curves("Loss", curves))

    plain = draw()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert draw() == plain
    assert Image.open(io.BytesIO(plain)).size == (768, 460)

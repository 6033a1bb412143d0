"""Examples are chosen by their improvement, and recordings can be seen and heard."""

import io

import numpy as np
import soundfile

from espnet2_bspmpnet.report import examples
from espnet2_bspmpnet.report.data import find_test_sets


def test_best_median_and_worst_are_by_the_improvement_in_pesq(recipe):
    (test_set,) = find_test_sets("exp/mine")
    chosen = examples.choose_examples(test_set)
    named = {which: test_set.utterances[place] for which, place in chosen.items()}
    assert named == {"Best": "u2", "Median": "u3", "Worst": "u4"}


def test_long_recordings_are_shortened(recipe):
    (test_set,) = find_test_sets("exp/mine")
    recordings, notes = examples.read_example(test_set, "u2", seconds=0.5)
    assert list(recordings) == ["noisy", "enhanced", "enhanced boosted", "clean"]
    assert notes == []
    clean = recordings["clean"]
    assert (len(clean.wave), clean.rate, clean.whole) == (4000, 8000, 0.8)


def test_what_fits_into_a_page_is_shared_by_its_recordings(recipe, monkeypatch):
    test_sets = find_test_sets("exp/mine")
    assert examples.seconds_to_hear(test_sets) == examples.LONGEST
    # Three utterances of four recordings, at 16 kHz or less.
    monkeypatch.setattr(examples, "MOST_SAMPLES", 12 * 16000 * 2.5)
    assert examples.seconds_to_hear(test_sets) == 2.5
    monkeypatch.setattr(examples, "MOST_SAMPLES", 1)
    assert examples.seconds_to_hear(test_sets) == 1.0


def test_recordings_are_drawn_and_turned_down_alike_where_one_would_clip():
    wave = np.sin(np.arange(8000))
    recordings = {
        "before": examples.Excerpt(2.0 * wave, 8000, 1.0),
        "after": examples.Excerpt(0.5 * wave, 8000, 1.0),
    }
    before, after = examples.spectrograms(recordings, "speech", "my recording")
    assert (before.name, after.name) == ("my_recording_before", "my_recording_after")
    assert after.alt == "Spectrogram of the after speech of speech"
    assert before.content.startswith(b"\x89PNG")
    loud, quiet = (soundfile.read(io.BytesIO(one.sound))[0] for one in (before, after))
    np.testing.assert_allclose(np.abs(loud).max(), 0.999, atol=1e-4)
    np.testing.assert_allclose(4.0 * quiet, loud, atol=2e-4)

"""Which recordings share a batch depends on their chunk alone; bad ones harm no other."""

import threading

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.batches import Batches
from espnet2_bspmpnet.inference.events import Done, Failed, Progress, Task
from espnet2_bspmpnet.inference.outputs import Outputs
from tests.enhancers import Neighbours

RATE = 1000
SECONDS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
ALL = range(len(SECONDS))


@pytest.fixture
def noisy(tmp_path):
    """Recordings r0 ... r6, of which the longest three share a batch, and so on."""
    random = np.random.default_rng(0)
    for number, seconds in enumerate(SECONDS):
        wave = random.uniform(-1, 1, int(seconds * RATE))
        soundfile.write(tmp_path / f"r{number}.wav", wave, RATE)
    return tmp_path


def tasks(folder, out, wanted=ALL):
    return [
        Task(str(folder / f"r{n}.wav"), str(folder / out / f"r{n}.wav"), n in wanted)
        for n in ALL
    ]


def run(*chunks, enhancer=None):
    events = []
    enhancer = enhancer or Neighbours()
    Batches(lambda: enhancer, Outputs())(iter(chunks), events.append)
    return events


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_recordings_of_all_chunks_are_written(noisy):
    one, other = tasks(noisy, "one"), tasks(noisy, "other")
    events = run(one, other[:3], other[3:])
    assert {event.task for event in events} == {*one, *other}
    assert all(isinstance(event, Done) for event in events)
    assert {round(event.audio, 3) for event in events} == set(SECONDS)
    assert len(contents(noisy / "one")) == len(contents(noisy / "other")) == 7
    assert contents(noisy / "one") != contents(noisy / "other")


@pytest.mark.parametrize("missing", [{0}, {6}, {2, 5}, {0, 1, 3}, set()])
def test_what_is_missing_becomes_what_it_was_among_all(noisy, missing):
    run(tasks(noisy, "whole"))
    events = run(tasks(noisy, "again", wanted=missing))
    assert {event.task.source for event in events} == {
        str(noisy / f"r{number}.wav") for number in missing
    }
    found = contents(noisy / "again") if missing else {}
    assert found.keys() == {f"r{number}.wav" for number in missing}
    assert found.items() <= contents(noisy / "whole").items()


def spoil(noisy):
    """r1 cannot be opened; r5, in the first batch, not read."""
    (noisy / "r1.wav").write_bytes(b"no audio")
    wave, _ = soundfile.read(noisy / "r5.wav")
    wave[-1] = np.nan
    soundfile.write(noisy / "r5.wav", wave, RATE, "FLOAT")


def test_bad_ones_fail_alone_and_always_leave_the_same_batches(noisy):
    spoil(noisy)
    events = run(tasks(noisy, "whole"))
    failed = {e.task.source: e.reason for e in events if isinstance(e, Failed)}
    assert failed.keys() == {str(noisy / "r1.wav"), str(noisy / "r5.wav")}
    assert failed[str(noisy / "r1.wav")].startswith("cannot be read as audio (")
    assert failed[str(noisy / "r5.wav")] == (
        "holds NaN or infinite samples, the first at 0.999 s; replace it"
    )
    whole = contents(noisy / "whole")
    assert whole.keys() == {f"r{number}.wav" for number in (0, 2, 3, 4, 6)}
    run(tasks(noisy, "again", wanted={6, 2}))
    assert contents(noisy / "again").items() <= whole.items()


def test_nothing_is_computed_for_bad_ones_alone(noisy):
    spoil(noisy)
    enhancer = Neighbours()
    enhancer.batch = lambda *_: pytest.fail("computed")
    events = run(tasks(noisy, "out", wanted={1, 5}), enhancer=enhancer)
    assert [type(event) for event in events] == [Failed, Failed]


def test_rates_do_not_share_a_batch(noisy):
    wave, _ = soundfile.read(noisy / "r6.wav")
    soundfile.write(noisy / "r6.wav", wave, 2 * RATE)
    rates = []

    class Rates(Neighbours):
        def batch(self, waves, rate):
            rates.append((rate, len(waves)))
            return super().batch(waves, rate)

    run(tasks(noisy, "out"), enhancer=Rates())
    assert rates == [(RATE, 3), (RATE, 3), (2 * RATE, 1)]


def test_long_ones_go_by_blocks_and_report_how_far_they_are(noisy):
    soundfile.write(noisy / "r3.wav", np.full(4500, 0.5), RATE)
    chunk = tasks(noisy, "out")
    events = run(chunk)
    shares = [event.share for event in events if isinstance(event, Progress)]
    assert len(shares) == 5 and sum(shares) == pytest.approx(1)
    wave, _ = soundfile.read(noisy / "out" / "r3.wav")
    assert len(wave) == 4500 and np.allclose(wave, 0.25, atol=1e-4)
    assert sum(isinstance(event, Done) for event in events) == 7
    assert run(tasks(noisy, "out", wanted=())) == []


def test_a_long_one_that_is_damaged_leaves_nothing(noisy):
    wave = np.full(4500, 0.5)
    wave[4000] = np.inf
    soundfile.write(noisy / "r3.wav", wave, RATE, "FLOAT")
    events = run(tasks(noisy, "out"))
    (failure,) = [event for event in events if isinstance(event, Failed)]
    assert "NaN or infinite samples, the first at 4.000 s" in failure.reason
    assert contents(noisy / "out").keys() == {f"r{n}.wav" for n in (0, 1, 2, 4, 5, 6)}


@pytest.mark.parametrize(
    "error, reason",
    [
        (MemoryError(), "MemoryError; try a smaller --window, or fewer processes"),
        (
            RuntimeError("CUDA out of memory.\nTried"),
            "CUDA out of memory.; try a small",
        ),
        (UserError("too long"), "too long"),
    ],
)
def test_a_batch_that_cannot_be_computed_fails_and_the_others_go_on(
    noisy, error, reason
):
    class Small(Neighbours):
        def batch(self, waves, rate):
            if waves[0].shape[1] == 1100:
                raise error
            return super().batch(waves, rate)

    events = run(tasks(noisy, "out"), enhancer=Small())
    failed = [event for event in events if isinstance(event, Failed)]
    assert len(failed) == 3 and len(contents(noisy / "out")) == 4
    assert all(event.reason.startswith(reason) for event in failed)


def test_a_mistake_of_ours_is_not_taken_for_a_bad_recording(noisy):
    class Wrong(Neighbours):
        def batch(self, waves, rate):
            return waves[0].no_such_thing

    with pytest.raises(AttributeError):
        run(tasks(noisy, "out"), enhancer=Wrong())


def test_a_full_disk_is_known_to_be_the_last_failure_and_a_folder_is_not(noisy):
    (noisy / "out" / "r0.wav").mkdir(parents=True)
    (failure,) = [e for e in run(tasks(noisy, "out")) if isinstance(e, Failed)]
    assert "this is a folder" in failure.reason and not failure.is_last


def test_the_next_batch_is_read_and_the_last_written_while_one_is_computed(noisy):
    """The second batch is computed only after the third is read and the first written."""
    read, written = threading.Event(), threading.Event()

    class Slow(Neighbours):
        calls = 0

        def batch(self, waves, rate):
            Slow.calls += 1
            if Slow.calls == 2:
                assert read.wait(60) and written.wait(60)
            return super().batch(waves, rate)

    class Watched(Outputs):
        def write(self, task, recording, blocks):
            written.set()
            return super().write(task, recording, blocks)

    def chunks():
        for number in range(3):
            if number == 2:
                read.set()
            yield tasks(noisy, f"{number}")[:1]

    Batches(Slow, Watched())(chunks(), lambda event: None)

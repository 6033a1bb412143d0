"""Impulse responses of WHAMR!'s rooms, by the settings that it was published with.

WHAMR! was made with pyroomacoustics 0.2, and its lists' T60 are to be read as that
release did: Sabine's absorption, which is one of energy, is taken from the amplitude at
every reflection,

    reflection = 1 - 24 ln(10) V / (c S T60),

so that a room's sound dies away earlier than its T60 says, and reflections change their
sign where T60 is very short. Today's releases need energies, cannot change signs and
filter out the lowest 10 Hz. The responses here agree with those of 0.2 to -64 dB (the
windows of the fractional delays differ), but for a factor 4 pi that levels undo.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, log

import numpy as np

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

_SOUND = 343.0  # m/s


@dataclass(frozen=True)
class Room:
    """A shoebox with one source and one microphone."""

    size: tuple[float, float, float]  # m
    microphone: tuple[float, float, float]  # its position, m
    source: tuple[float, float, float]  # its position, m
    t60: float  # nominal reverberation time, s; see above

    @property
    def reflection(self) -> float:
        """The share of the amplitude that a wall reflects; negative: the sign turns."""
        x, y, z = self.size
        surface = 2 * (x * y + y * z + z * x)  # m^2
        return 1 - 24 * log(10) * x * y * z / (_SOUND * surface * self.t60)

    def check(self) -> None:
        """Raise a ValueError that says why there can be no such room, if so."""
        if min(self.size) <= 0 or self.t60 <= 0:
            raise ValueError(f"size {self.size} m, T60 {self.t60} s: must be positive")
        for name in ("microphone", "source"):
            position = getattr(self, name)
            if not all(0 < at < end for at, end in zip(position, self.size)):
                raise ValueError(f"{name} {position} is outside the room {self.size}")
        if self.reflection <= -1:
            raise ValueError(f"T60 {self.t60} s is too short for the room {self.size}")


def require_pyroomacoustics() -> None:
    """Raise a UserError where the optional package is not installed."""
    try:
        import pyroomacoustics  # noqa: F401
    except ImportError as error:
        raise UserError(
            "pyroomacoustics, which computes the rooms, is not installed; run "
            "python -m pip install 'pyroomacoustics>=0.10'"
        ) from error


def impulse_responses(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """Compute from source to microphone: the direct sound alone, and all of it.

    Returns anechoic [L'] and reverberant [L], both at 16 kHz, with the same delay.
    """
    from pyroomacoustics import Material, ShoeBox

    shoebox = ShoeBox(
        room.size,
        fs=SAMPLE_RATE,
        materials=Material(1 - room.reflection**2),
        max_order=ceil(room.t60 * _SOUND / min(room.size)),
    )
    shoebox.add_source(room.source)
    shoebox.add_microphone(room.microphone)
    shoebox.image_source_model()
    (images,) = shoebox.sources
    images.damping = images.damping * np.sign(room.reflection) ** images.orders
    length = ceil(room.t60 * SAMPLE_RATE)
    microphone = np.array(room.microphone)[:, None]
    distance = np.linalg.norm(images.images - microphone, axis=0)  # m
    # Later ones would be cut off. A window begins no sooner than its image arrives.
    heard = distance * SAMPLE_RATE / _SOUND <= length + 1
    # One thread, as sums of float32 depend on how many share them.
    with _settings(rir_hpf_enable=False, num_threads=1):
        reverberant = _response(shoebox, heard)
        anechoic = _response(shoebox, images.orders == 0)
    return anechoic[:length], reverberant[:length]


def _response(shoebox, heard: np.ndarray) -> np.ndarray:
    shoebox.visibility = [heard[None]]
    shoebox.compute_rir()
    return shoebox.rir[0][0].astype(np.float64)


@contextmanager
def _settings(**values) -> Iterator[None]:
    """Set pyroomacoustics' constants for a while."""
    from pyroomacoustics import constants

    before = {name: constants.get(name) for name in values}
    try:
        for name, value in values.items():
            constants.set(name, value)
        yield
    finally:
        for name, value in before.items():
            constants.set(name, value)

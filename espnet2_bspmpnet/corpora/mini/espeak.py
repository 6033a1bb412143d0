"""Speech from the offline synthesiser eSpeak NG, as a function without state."""

import _ctypes
import ctypes
import os

import numpy as np

from espnet2_bspmpnet.errors import UserError

RATE = 22050  # Hz; what eSpeak NG synthesises at

_SYNCHRONOUS = 2  # espeak_Synth returns when the callback has had all samples
_DONT_EXIT = 0x8000  # report a failed start instead of ending the process
_UTF8 = 1
_VOLUME = 40  # of 100: some voices overflow 16 bits inside eSpeak above this
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def loader():
    """Return the package with library and data, or say how to install it (UserError)."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError(
            "the mini corpus needs the speech synthesiser espeakng-loader, which is "
            "not installed: run 'python -m pip install espeakng-loader'"
        ) from error
    return espeakng_loader


def speak(
    text: str,
    voice: str,
    rate: int = 160,
    pitch: int = 50,
    pitch_range: int = 50,
    seed: int = 0,
) -> np.ndarray:
    """Synthesise a text; the same arguments give the same samples, always.

    eSpeak NG carries pitch flutter, noise and more from one utterance to the next
    in static variables, so the library is loaded again for each (under 1 ms) and
    its random numbers are seeded. It is not thread-safe: use processes.

    Args:
        text: what to say.
        voice: language and variant, as "en-us+f3".
        rate: words a minute, 80 to 450.
        pitch: 0 to 100.
        pitch_range: liveliness of the intonation, 0 to 100.
        seed: of eSpeak's random numbers.

    Returns samples in [-1, 1], float32 [L], at `RATE`. Raises a UserError if the
    synthesiser is missing, will not start, or lacks the voice.
    """
    package = loader()
    path = package.get_library_path()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be loaded ({error}); reinstall it with "
            "pip install --force-reinstall espeakng-loader"
        ) from error
    try:
        data_path = os.path.dirname(package.get_data_path())
        # In the order of eSpeak's espeak_PARAMETER, which begins at 1.
        parameters = (rate, _VOLUME, pitch, pitch_range)
        return _speak(library, data_path, text.encode(), voice, parameters, seed)
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)


def _speak(library, data_path, text, voice, parameters, seed):
    chunks = []

    def receive(samples, count, _events):
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(receive)  # kept here: C holds no reference
    started = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), _DONT_EXIT)
    if started != RATE:
        raise UserError(
            f"eSpeak NG does not start with its data in {data_path}: reinstall it "
            "with pip install --force-reinstall espeakng-loader"
        )
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise UserError(
            f"eSpeak NG has no voice {voice!r}: install another espeakng-loader "
            "(0.2.4 has it)"
        )
    for number, value in enumerate(parameters, 1):
        library.espeak_SetParameter(number, value, 0)
    size = ctypes.c_size_t(len(text) + 1)
    library.espeak_Synth(text, size, 0, 1, 0, _UTF8, None, None)
    return np.concatenate([*chunks, np.zeros(0, np.int16)]).astype(np.float32) / 32768

"""The sampling rate that BSP-MPNet works at, and how rates are written."""

import argparse
import re

SAMPLE_RATE = 16000  # Hz (Section IV-C)


def sampling_rate(text: str) -> int:
    """Read a rate in Hz from an option such as 16000 or 16k."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(k?)", text.lower())
    rate = float(found[1]) * (1000 if found[2] else 1) if found else 0.0
    if rate < 1 or rate != int(rate):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate; write 16000 or 16k")
    return int(rate)

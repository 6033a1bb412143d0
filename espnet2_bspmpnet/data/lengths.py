"""What libsndfile does not say about the lengths in the headers of audio files.

It shortens truncated files silently, estimates the length of an MP3 that does not state
it, and takes a WAV that was not closed for an empty one.
"""

import os
import re

STREAM = b"\xff\xff\xff\xff"  # what stands for the length of a WAV from a pipe
# In libsndfile's log: the length in bytes that a header promises, and the real one.
_PROMISED = re.compile(
    r"^ *(?:data|SSND|BODY|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)",
    re.MULTILINE,
)
_NIST_FRAMES = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
_XING = re.compile(rb"(?:Xing|Info)\0\0\0(.).{4}(.{4})", re.DOTALL)  # flags, bytes
_OGG_PAGE = 65_307  # bytes of the largest one
_OGG_HEADER = 27


def ends_within_a_part(file: int) -> bool:
    """Say whether an Ogg ends within a page, or a CAF within a chunk.

    Args:
        file: its descriptor.
    """
    size = os.fstat(file).st_size
    start = os.pread(file, 8, 0)
    if start.startswith(b"OggS"):
        end = os.pread(file, _OGG_PAGE, max(0, size - _OGG_PAGE))
        page = end[end.rfind(b"OggS") :]
        if len(page) < _OGG_HEADER:
            return True
        lengths = page[_OGG_HEADER : _OGG_HEADER + page[26]]  # of the page's segments
        return len(page) < _OGG_HEADER + page[26] + sum(lengths)
    if not start.startswith(b"caff"):
        return False
    offset, header = 0, start
    while header:
        offset += len(header)
        header = os.pread(file, 12, offset)
        chunk = int.from_bytes(header[4:], "big", signed=True)
        if chunk < 0:  # unknown, as it was written to a pipe
            return False
        offset += chunk
    return offset > size


def is_shorter_than_promised(file: int, frames: int, log: str) -> bool:
    """Say whether a header promises more than libsndfile found.

    Args:
        file: its descriptor.
        frames: samples per channel that libsndfile found.
        log: what it wrote about the header.
    """
    for promised, real in _PROMISED.findall(log):
        # What programs that write to a pipe put, as they do not know the length.
        is_stream = 0x7FFF0000 <= int(promised) <= 0x80000000
        is_stream |= 0xFFFF0000 <= int(promised) <= 0xFFFFFFFF
        if int(promised) > int(real) and not is_stream:
            return True
    header = os.pread(file, 1024, 0)
    nist = _NIST_FRAMES.search(header) if header.startswith(b"NIST") else None
    return nist is not None and int(nist[1]) > frames


def length_of_unclosed_wav(file: int) -> int | None:
    """Find where a WAV or RF64 states the length of its samples, if it states 0.

    Args:
        file: the descriptor of one that holds no samples for libsndfile.

    Returns:
        The offset of those four bytes, or None where the header is right.
    """
    header = os.pread(file, 1 << 16, 0)
    place = header.find(b"data", 12) + 4
    is_rf64 = header.startswith(b"RF64")
    length = header[20:28] if is_rf64 else header[4:8]  # of the file less 8
    is_open = int.from_bytes(length, "little") + 8 <= place + 4
    return place if is_open and os.fstat(file).st_size > place + 4 else None


def start_of_unknown_mpeg(file: int) -> int | None:
    """Find where MPEG audio begins if no Xing header states the length of all of it.

    Args:
        file: the descriptor of an MP3 or MP2.

    Returns:
        The offset of a frame, or None where the length is known.
    """
    start = 0
    while (tag := os.pread(file, 10, start)).startswith(b"ID3"):
        size = 0
        for byte in tag[6:]:  # seven bits each
            size = size << 7 | byte
        start += len(tag) + size
    head = os.pread(file, 4096, start)
    xing = _XING.search(head, 0, 64)
    if xing is None or not xing[1][0] & 1:  # has a number of frames
        return start
    described = int.from_bytes(xing[2], "big")
    rest = os.fstat(file).st_size - start
    # Has it a number of bytes, and one that leaves more than tags may take?
    if not xing[1][0] & 2 or rest <= 1.01 * described + 4096:
        return None
    # Several files in one: go to the next frame, as the header describes the first file.
    return start + max(head.find(head[:2], 4), 0)

"""The bits of a watermark: 32 of payload, a checksum, and a convolutional code that is decoded from soft values.

The code has rate 1/3 and constraint length 7 (generators 133, 171, 165 octal; J. G. Proakis, Digital Communications,
table 8.2-2) and is decoded by the Viterbi algorithm (doi:10.1109/TIT.1967.1054010).
"""
from __future__ import annotations

import binascii
import functools

import numpy as np

PAYLOAD, CHECK, MEMORY = 32, 16, 6
_GENERATORS = (0o133, 0o171, 0o165)
BITS = (PAYLOAD + CHECK + MEMORY) * len(_GENERATORS)   # 162


def encode(payload: int) -> np.ndarray:
    """int32 [BITS] of -1 and 1.

    Args:
      payload: from 0 to 2^32 - 1.
    """
    message = [int(bit) for bit in f"{payload:032b}{_checksum(payload):016b}"] + [0] * MEMORY
    state, coded = 0, []
    for bit in message:
        state = bit << MEMORY | state >> 1
        coded += [(state & generator).bit_count() & 1 for generator in _GENERATORS]
    return 2 * np.array(coded, np.int32) - 1


def decode(soft: np.ndarray) -> tuple[int, bool]:
    """(payload, whether its checksum holds) that is most likely.

    Args:
      soft: float [BITS]; the sign is the bit, the size how sure it is.
    """
    before, outputs = _trellis()
    branch = soft.reshape(-1, len(_GENERATORS)) @ outputs          # [steps,128]: state before and bit, as a number
    score = np.full(64, -np.inf)
    score[0] = 0
    chosen = np.empty((len(branch), 64), np.int8)
    for step, each in enumerate(branch):
        both = score[before] + each.reshape(64, 2)                 # [state after, which of two came before]
        chosen[step] = both[:, 1] > both[:, 0]
        score = both.max(1)
    state, bits = 0, []                                            # the memory ends empty
    for step in reversed(range(len(branch))):
        bits.append(state >> MEMORY - 1)
        state = before[state, chosen[step, state]]
    word = "".join(str(bit) for bit in bits[::-1])
    payload = int(word[:PAYLOAD], 2)
    return payload, int(word[PAYLOAD:PAYLOAD + CHECK], 2) == _checksum(payload)


@functools.cache
def _trellis() -> tuple[np.ndarray, np.ndarray]:
    """The two states before each of 64 states, int [64,2]; and the signs sent on the way, float [3,128]."""
    before, outputs = np.empty((64, 2), np.int64), np.empty((3, 128))
    for after in range(64):
        for which in range(2):
            register = after << 1 | which                          # the newest bit, and six before it
            before[after, which] = register & 63
            for row, generator in enumerate(_GENERATORS):
                outputs[row, after * 2 + which] = 2 * ((register & generator).bit_count() & 1) - 1
    return before, outputs


def _checksum(payload: int) -> int:
    return binascii.crc_hqx(payload.to_bytes(4, "big"), 0xFFFF)

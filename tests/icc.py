"""Small ICC profiles (ICC.1:2001-04, version 2.4), written byte by byte: Pillow makes none but sRGB's."""
import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# x, y of red, green and blue, and the white point D65
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
D65 = (0.3127, 0.3290)
# Bradford's adaptation from D65 to D50
BRADFORD = np.array([[1.0479298, 0.0229468, -0.0501922], [0.0296278, 0.9904344, -0.0170738],
                     [-0.0092430, 0.0150552, 0.7518743]])


def rgb(primaries, gamma: float = 2.2) -> bytes:
    """A display with these primaries, white D65 and a plain gamma."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    columns = BRADFORD @ (columns * np.linalg.solve(columns, white))
    tags = {f"{c}XYZ": _xyz(columns[:, i]) for i, c in enumerate("rgb")}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | {f"{c}TRC": _curve(gamma) for c in "rgb"})


def gray(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {"kTRC": _curve(gamma)})


def cmyk(darkness: float = 1.0) -> bytes:
    """Inks as coarse filters, in a table of the corners. darkness: of all inks."""
    linear = struct.pack(">256B", *range(256))
    table = bytearray()
    for corner in np.ndindex(2, 2, 2, 2):
        c, m, y, k = corner
        light = 100 * (1 - darkness * k) * (1 - 0.35 * darkness * (c + m + y) / 1.5)
        lab = (light, 60 * (m - c) * (1 - k), 60 * (y - (c + m) / 2) * (1 - k))
        table += bytes([round(max(lab[0], 0) * 2.55), round(lab[1] + 128), round(lab[2] + 128)])
    head = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    return _profile(b"prtr", b"CMYK", b"Lab ", {"A2B0": head + 4 * linear + bytes(table) + 3 * linear})


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[str, bytes]) -> bytes:
    text = b"test\0"
    tags = {"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
            "cprt": b"text\0\0\0\0" + text, "wtpt": _xyz(D50), **tags}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name.encode(), start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s4sIIIQI12s4s", start + len(body), b"\0\0\0\0", 0x02400000, kind, space, pcs,
                       struct.pack(">6H", 2020, 1, 1, 0, 0, 0), b"acsp", b"\0\0\0\0", 0, 0, 0, 0, 0,
                       struct.pack(">3i", *(round(v * 65536) for v in D50)), b"\0\0\0\0")
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def _xyz(values) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"

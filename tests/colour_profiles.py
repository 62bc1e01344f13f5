"""ICC profiles made by hand, for pictures that say what their numbers mean."""

import struct
from collections.abc import Sequence

D50 = (0.9642, 1.0, 0.8249)
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))  # r, g, b; D50
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(*values)


def gamma(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256)) + b"\0\0"


def srgb_curve() -> bytes:
    """sRGB's curve as its parameters: ((x + 0.055) / 1.055)^2.4 above 0.04045, x / 12.92 below."""
    return b"para\0\0\0\0\0\x03\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """A version 2 profile: its header, the table of its tags, the tags."""
    tags = {b"wtpt": xyz(D50), b"desc": b"desc" + b"\0" * 4 + struct.pack(">I", 1) + b"\0" * 79} | tags
    table, data, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"\0" * 4, 0x02400000, kind, space, connection, b"\0" * 12, b"acsp")
    return header.ljust(68, b"\0") + fixed(*D50) + b"\0" * 48 + table + data


def rgb_profile(primaries: Sequence[Sequence[float]], curve: bytes) -> bytes:
    columns = {name: xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return profile(b"RGB ", columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(exponent: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": gamma(exponent)})


def cmyk_profile() -> bytes:
    """Inks whose lightness is 100 (1 - k), whatever the others: a printer that has black alone."""
    identity = b"".join(struct.pack(">HH", 0, 65535) for _ in range(1))
    corners = b"".join(struct.pack(">HHH", 65280 * (1 - (corner & 1)), 32768, 32768) for corner in range(16))
    head = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack(">HH", 2, 2)
    table = head + identity * 4 + corners + identity * 3
    return profile(b"CMYK", {b"A2B0": table}, b"prtr", b"Lab ")

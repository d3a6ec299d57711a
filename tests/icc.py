"""Small ICC version 2 profiles for the tests: Pillow can only make sRGB itself."""

from __future__ import annotations

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
PRIMARIES = {  # columns red, green, blue in XYZ relative to D50, as in the published profiles
    "sRGB": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139)),
    "Display P3": ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),
}


def rgb_profile(name: str, gamma: float | str) -> bytes:
    """A display profile with the primaries of `name`; `gamma` is a number or "srgb" for its curve."""
    red, green, blue = PRIMARIES[name]
    curve = _curve(gamma)
    colours = {b"rXYZ": _xyz(red), b"gXYZ": _xyz(green), b"bXYZ": _xyz(blue)}
    return _profile(b"RGB ", name, colours | {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def gray_profile(gamma: float | str) -> bytes:
    """A gray profile with one curve."""
    return _profile(b"GRAY", f"gray {gamma}", {b"kTRC": _curve(gamma)})


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _curve(gamma: float | str) -> bytes:
    light = np.linspace(0, 1, 1024)
    if gamma == "srgb":
        light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    else:
        light = light ** float(gamma)
    return b"curv\0\0\0\0" + struct.pack(">I", len(light)) + np.rint(light * 65535).astype(">u2").tobytes()


def _profile(space: bytes, name: str, tags: dict[bytes, bytes]) -> bytes:
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": _xyz(D50), **tags}
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += tag + struct.pack(">II", place + len(body), len(data))
        body += padded
    header = struct.pack(">I4sI4s4s4s", place + len(body), b"none", 0x02100000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + _xyz(D50)[8:]
    return header.ljust(128, b"\0") + table + body

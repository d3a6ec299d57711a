"""Any PIL image -> 8-bit gray or sRGB, and alpha: frames, orientation, modes, depth, colour profiles."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps

from vqcodec.errors import UnsupportedImageError

_OPAQUE_MODES = {
    "1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBX": "RGB",
    "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "CMYK": "CMYK",
}  # fmt: skip
_ALPHA_MODES = {
    "1": "LA", "L": "LA", "LA": "LA", "La": "LA",
    "P": "RGBA", "PA": "RGBA", "RGB": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA",
}  # fmt: skip
_MODE_NOTES = {
    "1": "bilevel image kept as 8-bit gray",
    "P": "palette expanded to RGB",
    "PA": "palette expanded to RGB",
    "La": "premultiplied alpha divided out",
    "RGBa": "premultiplied alpha divided out",
    "YCbCr": "YCbCr converted to RGB",
    "LAB": "LAB converted to sRGB",
    "HSV": "HSV converted to RGB",
}
_HEAD_BYTES = 65536  # of a file: where JPEG 2000 and AVIF say how deep their samples are
_SAME_COLOUR = 2  # of 255: a profile that moves no colour further than this is sRGB already


def samples(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """The current frame as 8-bit sRGB: colour (H, W, 1 or 3) and alpha (H, W) or None, uint8, and notes.

    Raises `UnsupportedImageError` for modes without a defined range, and whatever Pillow raises on damage.
    """
    if image.format == "EPS":  # would start Ghostscript on the file
        raise UnsupportedImageError("EPS files are programs, not pictures")
    notes = frame_notes(image)
    raw_mode, top = stored_as(image)
    from_16_bit_file = image.format in ("PNG", "PPM")
    image.load()
    image = _upright(image, notes)
    if top > 255:
        notes.append(f"{top.bit_length()}-bit samples reduced to 8 bits")
    if image.mode.startswith("I;16") or (image.mode == "I" and from_16_bit_file):
        colour, alpha = _reduce_gray(image, top)
    else:
        if top > 255 and "transparency" in image.info:
            notes.append("transparent colour of a 16-bit image dropped")
            image = image.copy()
            del image.info["transparency"]
        colour, alpha = _split(image.convert("LA") if raw_mode.startswith("LA;16") else image, notes)
    colour = _to_srgb(colour, image.info.get("icc_profile"), notes)
    layers = np.asarray(colour)
    return layers.reshape(*layers.shape[:2], -1), None if alpha is None else np.asarray(alpha), tuple(notes)


def frame_notes(image: Image.Image) -> list[str]:
    """What is lost of an image of several frames."""
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged later frame does not spoil the first one
        return ["first frame kept, the others cannot be read"]
    if frames == 1 or image.format == "PSD":  # Photoshop's frames are the layers of one picture
        return []
    which = "first frame" if image.tell() == 0 else f"frame {image.tell() + 1}"
    return [f"{which} of {frames} kept"]


def stored_as(image: Image.Image) -> tuple[str, int]:
    """How the samples lie in the file: Pillow's raw mode, and the largest sample (255 where not known)."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    arguments = tiles[0].args if tiles else None
    raw_mode, *others = arguments if isinstance(arguments, tuple) and arguments else (arguments,)
    if not isinstance(raw_mode, str) or tiles[0].codec_name == "jpeg2k":  # which names the kind of file there
        raw_mode = image.mode
    if image.format == "PPM" and others and isinstance(others[0], int) and others[0] > 255:
        return raw_mode, 65535
    if image.mode.startswith("I;16"):  # as JPEG 2000 does, whose samples fill 16 bits at any depth
        return raw_mode, 4095 if raw_mode == "I;12" else 65535
    if isinstance(image, ImageFile.ImageFile) and tiles and image.format in ("JPEG2000", "AVIF"):
        return raw_mode, 2 ** _bits_in_file(image) - 1
    return raw_mode, 65535 if ";16" in raw_mode or image.mode == "I" else 255


def _bits_in_file(image: ImageFile.ImageFile) -> int:
    """Bits a sample of a JPEG 2000 or AVIF file that Pillow reduces to 8 unasked; 8 where its head does not tell."""
    if image.fp is None:
        return 8
    place = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(_HEAD_BYTES)
    image.fp.seek(place)
    if image.format == "AVIF":
        configuration = head.partition(b"av1C")[2][:3]  # the last of these bytes has the flags of the depth
        flags = configuration[2] if len(configuration) == 3 else 0
        return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    sizes = head.partition(b"\xff\x4f\xff\x51")[2][:39]  # the SIZ marker segment, up to the first depth
    return max((sizes[38] & 0x7F) + 1, 8) if len(sizes) == 39 else 8


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        turned = ImageOps.exif_transpose(image) if orientation in range(2, 9) else image
    except Exception:  # Pillow's EXIF reader lets many kinds through; the picture itself is sound
        notes.append("unreadable EXIF data ignored")
        return image
    if turned is not image:
        notes.append(f"EXIF orientation {orientation} applied")
    return turned


def _reduce_gray(image: Image.Image, top: int) -> tuple[Image.Image, Image.Image | None]:
    """A gray image with samples up to `top` as modes L and L, rounded to the nearest of 256 levels."""
    deep = np.clip(np.asarray(image).astype(np.uint32), 0, top)
    key = image.info.get("transparency")
    alpha = None
    if isinstance(key, int):
        alpha = Image.fromarray(np.where(deep == key, 0, 255).astype(np.uint8))
    return Image.fromarray(((deep * 255 + top // 2) // top).astype(np.uint8)), alpha


def _split(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """Colour in mode L, RGB or CMYK, and alpha in mode L where there is any."""
    mode = _ALPHA_MODES.get(image.mode) if image.has_transparency_data else None
    mode = mode or _OPAQUE_MODES.get(image.mode)
    if mode is None:
        raise UnsupportedImageError(f"samples of mode {image.mode} have no defined range: convert them to 8 bits")
    if image.mode in _MODE_NOTES:
        notes.append(_MODE_NOTES[image.mode])
    if image.mode != mode:
        image = image.convert(mode)
    if mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    if mode == "RGBA":
        return image.convert("RGB"), image.getchannel("A")
    return image, None


def _to_srgb(colour: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    """Mode L, RGB or CMYK through its ICC profile to L or RGB in sRGB; perceptual intent."""
    if icc:
        try:
            return _through_profile(colour, icc, notes)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes.append("unusable ICC profile ignored")
    if colour.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
        return colour.convert("RGB")
    return colour


def _through_profile(colour: Image.Image, icc: bytes, notes: list[str]) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    gray = colour.mode == "L"
    source = colour.convert("RGB") if gray and profile.profile.xcolor_space.strip() == "RGB" else colour
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source.mode, "RGB")
    if source.mode != "CMYK" and _keeps_colours(transform, source.mode):
        return colour
    kind = "CMYK" if source.mode == "CMYK" else "ICC profile"
    notes.append(f"{kind} '{ImageCms.getProfileDescription(profile).strip()[:60]}' converted to sRGB")
    converted = transform.apply(source)
    return converted.getchannel("G") if gray else converted


def _keeps_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    if mode == "L":
        grid = np.repeat(grid[..., :1], 3, axis=2)
    probe = Image.fromarray(grid)
    moved = np.asarray(transform.apply(probe.convert(mode))).astype(int)
    return bool(np.abs(moved - grid).max() <= _SAME_COLOUR)

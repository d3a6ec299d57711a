from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from icc import gray_profile, rgb_profile
from PIL import Image, ImageCms, features

from vqcodec.errors import CorruptedError, LimitError, UnsupportedImageError
from vqcodec.limits import MAX_PIXELS, MAX_SIDE, WARN_PIXELS, check_size
from vqcodec.pixels import (
    Picture,
    alpha_from_bytes,
    alpha_to_bytes,
    from_image,
    open_image,
    pad_to_multiple,
    windows,
)

RNG = np.random.default_rng(7)
SHAPES = [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1), (1, 9, 3)]


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def to_array(picture: Picture) -> np.ndarray:
    """(H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB, (H, W, 4) RGBA."""
    layers = picture.pixels[..., :1] if picture.gray else picture.pixels
    if picture.alpha is not None:
        layers = np.concatenate([layers, picture.alpha[..., None]], axis=2)
    return layers[..., 0] if layers.shape[2] == 1 else layers


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file that Pillow's own writer has no mode for."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    middle = b"".join(chunk(piece[:4], piece[4:]) for piece in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# arrays


@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_come_back(shape: tuple[int, ...]) -> None:
    array = noise(*shape)
    picture = from_image(array)
    assert picture.pixels.shape == (*shape[:2], 3) and picture.pixels.flags.c_contiguous
    assert picture.gray == (len(shape) == 2 or shape[2] <= 2)
    assert picture.notes == ()
    expected = array[..., 0] if shape[2:] == (1,) else array
    assert np.array_equal(to_array(picture), expected)


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))))
def test_any_array_comes_back_but_for_opaque_alpha(array: np.ndarray) -> None:
    back = to_array(from_image(array)).reshape(*array.shape[:2], -1)
    channels = back.shape[2]
    assert np.array_equal(back, array[..., :channels])
    assert channels == array.shape[2] or (array[..., channels:] == 255).all()


def test_views_are_taken_as_they_look() -> None:
    array = noise(6, 8, 3)
    for view in (array[::-1], array[:, ::2], array.transpose(1, 0, 2), array[..., ::-1]):
        assert np.array_equal(to_array(from_image(view)), view)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), np.uint16), "uint16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((4, 4, 0), np.uint8), r"\(4, 4, 0\)"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.zeros((4, 0), np.uint8), "empty"),
        ([[0, 1]], "list"),
        (None, "NoneType"),
        ("photo.png", "str"),
        (Image.new("F", (2, 2)), "mode F"),
        (Image.new("I", (2, 2)), "mode I"),
        (Image.new("RGB", (0, 2)), "empty"),
    ],
)
def test_what_does_not_fit_is_named(given: object, cause: str) -> None:
    with pytest.raises(UnsupportedImageError, match=cause):
        from_image(given)  # type: ignore[arg-type]


# PIL modes


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_plain_modes_come_back_exactly(mode: str) -> None:
    image = Image.fromarray(noise(5, 7, 4)).convert(mode)
    picture = from_image(image)
    assert picture.notes == ()
    assert Image.fromarray(to_array(picture)).mode == mode
    assert to_array(picture).tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("mode", "back", "note"),
    [
        ("1", "L", "bilevel"),
        ("La", "LA", "premultiplied"),
        ("P", "RGB", "palette"),
        ("PA", "RGBA", "palette"),
        ("RGBa", "RGBA", "premultiplied"),
        ("RGBX", "RGB", ""),
        ("CMYK", "RGB", "CMYK"),
        ("YCbCr", "RGB", "YCbCr"),
        ("LAB", "RGB", "LAB"),
        ("HSV", "RGB", "HSV"),
        ("I;16", "L", "16-bit"),
        ("I;16B", "L", "16-bit"),
        ("I;16L", "L", "16-bit"),
    ],
)
def test_every_other_mode_is_converted_and_noted(mode: str, back: str, note: str) -> None:
    image = Image.new(mode, (7, 5))
    if mode.startswith("I;16"):
        image.putpixel((0, 0), 65535)
    elif mode in ("PA", "La", "RGBa"):
        image = Image.fromarray(noise(5, 7, 4)).convert("LA" if mode == "La" else "RGBA").convert(mode)
    picture = from_image(image)
    assert Image.fromarray(to_array(picture)).mode == back
    assert note in " ".join(picture.notes)
    assert bool(picture.notes) == bool(note)


def test_bilevel_is_black_and_white() -> None:
    bits = np.array([[True, False, True]])
    assert to_array(from_image(Image.fromarray(bits))).tolist() == [[255, 0, 255]]


def test_sixteen_bits_are_rounded_to_the_nearest_of_256() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(deep / 257).astype(np.uint8)
    for image in (Image.fromarray(deep), Image.open(io.BytesIO(saved(Image.fromarray(deep))))):
        picture = from_image(image)
        assert picture.gray and np.array_equal(to_array(picture), expected)
    assert open_image(saved(Image.fromarray(deep))).notes == ("16-bit samples reduced to 8 bits",)


def test_sixteen_bit_colour_is_noted() -> None:
    rows = b"\0" + struct.pack(">6H", 65535, 0, 257, 514, 771, 1028)
    picture = open_image(png(2, 1, 16, 2, rows))
    assert to_array(picture).tolist() == [[[255, 0, 1], [2, 3, 4]]]
    assert picture.notes == ("16-bit samples reduced to 8 bits",)
    keyed = open_image(png(2, 1, 16, 2, rows, b"tRNS" + struct.pack(">3H", 65535, 0, 257)))
    assert keyed.alpha is None and len(keyed.notes) == 2


def test_sixteen_bit_gray_with_alpha_stays_gray() -> None:
    rows = b"\0" + struct.pack(">4H", 65535, 0, 257, 65535)
    picture = open_image(png(2, 1, 16, 4, rows))
    assert picture.gray and to_array(picture).tolist() == [[[255, 0], [1, 255]]]


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_sixteen_bit_jpeg_2000(options: dict[str, object]) -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = open_image(saved(Image.fromarray(deep), "JPEG2000", **options))
    assert picture.gray and np.array_equal(to_array(picture), np.rint(deep / 257).astype(np.uint8))
    assert picture.notes == ("16-bit samples reduced to 8 bits",)
    plain = open_image(saved(Image.fromarray(noise(16, 16, 3)), "JPEG2000", **options))
    assert plain.notes == () and not plain.gray
    data = bytearray(saved(Image.fromarray(noise(16, 16, 3)), "JPEG2000", **options))
    depths = data.find(b"\xff\x4f\xff\x51") + 42
    data[depths : depths + 9 : 3] = bytes([11, 11, 11])
    assert open_image(bytes(data)).notes == ("12-bit samples reduced to 8 bits",)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_deep_avif_is_noted() -> None:
    data = saved(Image.fromarray(noise(16, 16, 3)), "AVIF")
    assert open_image(data).notes == ()
    deep = bytearray(data)
    deep[data.find(b"av1C") + 6] |= 0x40
    place = data.find(b"pixi") + 9
    deep[place : place + 3] = bytes([10, 10, 10])
    assert open_image(bytes(deep)).notes == ("10-bit samples reduced to 8 bits",)


def test_sixteen_bit_pnm() -> None:
    gray = open_image(b"P5 2 1 65535\n" + struct.pack(">2H", 65535, 257))
    assert gray.gray and to_array(gray).tolist() == [[255, 1]] and gray.notes
    colour = open_image(b"P6 1 1 65535\n" + struct.pack(">3H", 65535, 257, 0))
    assert to_array(colour).tolist() == [[[255, 1, 0]]] and colour.notes


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.fromarray(np.array([[3, 9]], np.uint8)), {"transparency": 9}, [[[3, 255], [9, 0]]]),
        (Image.fromarray(np.array([[257, 514]], np.uint16)), {"transparency": 514}, [[[1, 255], [2, 0]]]),
        (
            Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)),
            {"transparency": (4, 5, 6)},
            [[[1, 2, 3, 255], [4, 5, 6, 0]]],
        ),
    ],
)
def test_a_transparent_colour_becomes_alpha(
    image: Image.Image, options: dict[str, object], expected: list[object]
) -> None:
    assert to_array(open_image(saved(image, **options))).tolist() == expected


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\x80"])
def test_palette_transparency(transparency: int | bytes) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    array = to_array(open_image(saved(image, transparency=transparency)))
    assert array[..., :3].tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert array[0, :, 3].tolist() == [255, 0, 255 if transparency == 1 else 128]


def test_an_opaque_alpha_channel_is_dropped() -> None:
    rgba = noise(4, 4, 4)
    rgba[..., 3] = 255
    assert from_image(rgba).alpha is None
    assert to_array(from_image(Image.fromarray(rgba))).shape[2] == 3


def test_the_callers_image_is_left_alone() -> None:
    deep = png(1, 1, 16, 2, b"\0" + bytes(6), b"tRNS" + bytes(6))
    image = Image.open(io.BytesIO(deep))
    from_image(image)
    assert "transparency" in image.info


# orientation, frames, colour profiles


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, format: str, photo: np.ndarray) -> None:
    upright = photo[:48, :64]
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 7: upright[::-1, ::-1].swapaxes(0, 1),
        6: np.rot90(upright), 8: np.rot90(upright, 3),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(turned)), format, exif=exif, quality=100)
    picture = open_image(data)
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 8
    assert picture.notes == (() if orientation == 1 else (f"EXIF orientation {orientation} applied",))


def test_broken_exif_does_not_hide_the_picture(photo: np.ndarray) -> None:
    picture = open_image(saved(Image.fromarray(photo), exif=b"Exif\0\0nonsense"))
    assert np.array_equal(picture.pixels, photo)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_kept(format: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options: dict[str, object] = {"lossless": True} if format == "WEBP" else {}
    picture = open_image(saved(frames[0], format, save_all=True, append_images=frames[1:], **options))
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    assert "first frame of 3 kept" in picture.notes


def test_an_srgb_profile_changes_nothing(photo: np.ndarray) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (profile, rgb_profile("sRGB", gamma="srgb")):
        picture = open_image(saved(Image.fromarray(photo), icc_profile=icc))
        assert np.array_equal(picture.pixels, photo) and picture.notes == ()


def test_a_wide_profile_is_converted() -> None:
    listed = [[255, 255, 255], [0, 0, 0], [128, 128, 128], [200, 100, 50], [50, 180, 90]]
    colours = np.array([listed], np.uint8)
    picture = open_image(saved(Image.fromarray(colours), icc_profile=rgb_profile("Display P3", gamma="srgb")))
    converted = picture.pixels[0].astype(int)
    assert picture.notes == ("ICC profile 'Display P3' converted to sRGB",)
    assert np.abs(converted[:3] - colours[0, :3].astype(int)).max() <= 1
    # by hand, with the two matrices and the sRGB curve: the same light needs more extreme sRGB numbers
    assert np.abs(converted[3:] - [[215, 93, 31], [0, 183, 78]]).max() <= 1


def test_gray_through_profiles_stays_gray() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    linear = open_image(saved(Image.fromarray(ramp), icc_profile=gray_profile(gamma=1.0)))
    assert linear.gray and linear.notes and 186 <= to_array(linear)[0, 128] <= 190
    in_rgb = open_image(saved(Image.fromarray(ramp), icc_profile=rgb_profile("Display P3", gamma="srgb")))
    assert in_rgb.gray and np.abs(to_array(in_rgb).astype(int) - ramp).max() <= 1


@pytest.mark.parametrize("icc", [b"nonsense", b"\0" * 200, gray_profile(gamma=1.0)])
def test_an_unusable_profile_is_noted(icc: bytes, photo: np.ndarray) -> None:
    picture = open_image(saved(Image.fromarray(photo), icc_profile=icc))
    assert np.array_equal(picture.pixels, photo)
    assert picture.notes == ("unusable ICC profile ignored",)


# files that are no pictures, and pictures too large


def test_files_and_bytes_and_streams_read_alike(jpeg_path: Path) -> None:
    data = jpeg_path.read_bytes()
    pictures = [open_image(source) for source in (jpeg_path, str(jpeg_path), data, io.BytesIO(data))]
    assert all(np.array_equal(picture.pixels, pictures[0].pixels) for picture in pictures)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"VQC\x1a" + bytes(9)])
def test_what_is_no_image_is_named(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="image"):
        open_image(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM"])
def test_a_truncated_image_is_an_error_or_whole(format: str, photo: np.ndarray) -> None:
    data = saved(Image.fromarray(photo[:64, :64]), format)
    for cut in range(1, len(data) - 1, max(len(data) // 60, 1)):
        try:
            assert open_image(data[:cut]).pixels.shape == (64, 64, 3)
        except UnsupportedImageError:
            continue
    with pytest.raises(UnsupportedImageError):
        open_image(data[: len(data) // 2])


def test_postscript_is_never_run() -> None:
    data = saved(Image.new("RGB", (3, 3)), "EPS")
    with pytest.raises(UnsupportedImageError, match="EPS"):
        open_image(data)


def test_a_missing_file_stays_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "missing.png")
    with pytest.raises(OSError):
        open_image(tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_limits_bite_before_anything_is_decoded(photo_path: Path) -> None:
    with pytest.raises(LimitError, match="196608"):
        open_image(photo_path, max_pixels=196607)
    assert open_image(photo_path, max_pixels=196608).pixels.shape == (384, 512, 3)
    for side in (20_000, 2**31 - 1):
        with pytest.raises(LimitError):
            open_image(png(side, side, 8, 2, b""))
    with pytest.raises(LimitError):
        from_image(np.broadcast_to(np.zeros(1, np.uint8), (13_378, 13_378)))


def test_large_pictures_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_size(5461, WARN_PIXELS // 5461)
    with pytest.warns(Image.DecompressionBombWarning):
        check_size(MAX_PIXELS // 13_378, 13_378)
    with pytest.raises(LimitError):
        check_size(13_378, 13_378)


def test_long_sides_are_refused() -> None:
    check_size(1, MAX_SIDE)
    long = np.zeros((1, MAX_SIDE + 1), np.uint8)
    for image in (long, Image.fromarray(long)):
        with pytest.raises(LimitError, match="side"):
            from_image(image)
    with pytest.raises(LimitError, match="side"):
        open_image(saved(Image.fromarray(long)))
    with pytest.raises(LimitError, match="side"):
        check_size(MAX_SIDE + 1, 1, max_pixels=1 << 40)


def test_large_pillow_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_size, "__defaults__", (15,))
    with pytest.raises(LimitError):
        from_image(Image.new("L", (4, 4)))
    assert open_image(saved(Image.new("L", (4, 4))), max_pixels=16).pixels.shape == (4, 4, 3)


# the alpha channel inside a .vqc file


SIDES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(arrays(np.uint8, SIDES, elements=st.sampled_from([0, 1, 128, 255])))
def test_alpha_comes_back(alpha: np.ndarray) -> None:
    assert np.array_equal(alpha_from_bytes(alpha_to_bytes(alpha), *alpha.shape), alpha)


RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))


@pytest.mark.parametrize("alpha", [noise(40, 30), RAMP, noise(1, 20_000)])
def test_alpha_comes_back_in_either_format(alpha: np.ndarray) -> None:
    assert np.array_equal(alpha_from_bytes(alpha_to_bytes(alpha), *alpha.shape), alpha)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        saved(Image.new("L", (5, 4))),
        saved(Image.new("LA", (4, 5))),
        saved(Image.new("RGB", (4, 5))),
        saved(Image.new("L", (4, 5)), "JPEG"),
        saved(Image.new("L", (4, 5)))[:-20],
        saved(Image.fromarray(noise(5, 4, 3)), "WEBP", lossless=True),
        saved(Image.new("L", (4, 5)), save_all=True, append_images=[Image.new("L", (4, 5), 9)]),
    ],
)
def test_damaged_alpha_is_corrupted(data: bytes) -> None:
    with pytest.raises(CorruptedError, match="alpha"):
        alpha_from_bytes(data, 5, 4)


# windows and padding


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.integers(0, 12))
def test_windows_cover_a_grid_once(height: int, width: int, core: int, margin: int) -> None:
    grid = np.arange(height * width).reshape(height, width)
    seen = np.zeros_like(grid)
    for window in windows(height, width, core, margin):
        seen[window.core] += 1
        assert np.array_equal(grid[window.region][window.inner], grid[window.core])
        for inside, around, size in zip(window.core, window.region, (height, width), strict=True):
            assert around.start == max(inside.start - margin, 0)
            assert around.stop == min(inside.stop + margin, size)
    assert (seen == 1).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17))
def test_padding_repeats_the_edge(height: int, width: int, multiple: int) -> None:
    pixels = noise(height, width, 3)
    padded = pad_to_multiple(pixels, multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert padded.shape[0] - height < multiple and padded.shape[1] - width < multiple
    assert np.array_equal(padded[:height, :width], pixels)
    assert (padded[height:, :width] == pixels[-1:]).all()
    assert (padded[:height, width:] == pixels[:, -1:]).all()

import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifar10.data import image_folder
from cifar10.data.datamodule import ImageSet
from cifar10.data.image_folder import FolderData
from cifar10.data.image_io import read_image
from cifar10.errors import UserError, shorten

LAYOUT = "expected images in root/train/<class>/ and root/test/<class>/"


def noise(height: int = 32, width: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray | Image.Image | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(noise() if pixels is None else pixels)
    image.save(path, **options)
    return path


def read(path: Path) -> np.ndarray:
    """Returns the image as (32, 32, 3) uint8."""
    image = read_image(path)
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.uint8
    return image.permute(1, 2, 0).numpy()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Returns a data set of two classes with one image each in both splits."""
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        save(tmp_path / "set" / place / "a.png")
    return tmp_path / "set"


def read_folder(root: Path) -> ImageSet:
    return FolderData(str(root)).read()


def error_of(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_folder(root)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.replace(str(root), "ROOT")


# --- One image ---


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.TIFF", "a.ppm"])
def test_32x32_image_keeps_its_values(tmp_path: Path, name: str) -> None:
    assert np.array_equal(read(save(tmp_path / name)), noise())


def test_format_is_detected_by_content(tmp_path: Path) -> None:
    assert np.array_equal(read(save(tmp_path / "a.webp", format="PNG")), noise())


@pytest.mark.parametrize(
    ("name", "options"), [("a.jpeg", {"quality": 95}), ("a.jfif", {"quality": 95}), ("a.webp", {}), ("a.avif", {})]
)
def test_lossy_formats(tmp_path: Path, name: str, options: dict) -> None:
    ramp = np.repeat(np.linspace(40, 200, 32).astype(np.uint8)[:, None, None], 32, 1).repeat(3, 2)
    assert np.abs(read(save(tmp_path / name, ramp, **options)).astype(int) - ramp).max() <= 4


@pytest.mark.fault("an image with 16 bits, CMYK, a palette or an animation", "read; the first frame of an animation")
def test_lossless_webp_and_gif(tmp_path: Path) -> None:
    assert np.array_equal(read(save(tmp_path / "a.webp", lossless=True)), noise())
    two_frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    path = save(tmp_path / "a.gif", two_frames[0], save_all=True, append_images=two_frames[1:])
    assert (read(path) == (255, 0, 0)).all()


@pytest.mark.parametrize("upright", [True, False])
def test_wide_or_tall_image_is_center_cropped_and_scaled(tmp_path: Path, upright: bool) -> None:
    """Away from the edges, a symmetric filter maps a linear ramp to its values at the output pixels' centers."""
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None] * 3, 48, 0)  # 48 high, 64 wide
    result = read(save(tmp_path / "a.png", ramp.T.copy() if upright else ramp))
    result = result.transpose(1, 0, 2) if upright else result
    centers = 8 + (np.arange(32) + 0.5) * 48 / 32 - 0.5  # in input pixels: 8 are cropped on each side
    assert np.abs(result.astype(float) - centers[None, :, None] * 3)[:, 2:-2].max() <= 0.51
    assert (result == result[:1]).all()
    assert (result == result[..., :1]).all()


def test_downscaling_is_antialiased(tmp_path: Path) -> None:
    """A checkerboard of single pixels becomes gray; without antialiasing it stays black and white."""
    board = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(read(save(tmp_path / "a.png", board)).astype(float) - 127.5).max() <= 6


def test_small_image_is_upscaled(tmp_path: Path) -> None:
    assert (read(save(tmp_path / "a.png", np.full((1, 5, 3), 77, np.uint8))) == 77).all()


def test_transparent_pixels_are_composited_onto_white(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:8, :, 3], pixels[8:16, :, 3] = 255, 51  # opaque, 20%, transparent
    result = read(save(tmp_path / "a.png", pixels))
    assert (result[:8] == (200, 0, 0)).all()
    assert np.abs(result[8:16].astype(int) - (244, 204, 204)).max() <= 1  # 255 - (255 - c) / 5
    assert (result[16:] == 255).all()
    gray = read(save(tmp_path / "b.png", pixels[..., 2:]))  # gray and alpha
    assert (gray[:8] == 0).all()
    assert (gray[16:] == 255).all()


@pytest.mark.fault("an image with 16 bits, CMYK, a palette or an animation", "read; the first frame of an animation")
def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(0, (0, 0, 32, 16))
    result = read(save(tmp_path / "a.png", image))
    assert (result[:16] == (10, 20, 30)).all()
    assert (result[16:] == (40, 50, 60)).all()
    result = read(save(tmp_path / "b.png", image, transparency=0))
    assert (result[:16] == 255).all()
    assert (result[16:] == (40, 50, 60)).all()


@pytest.mark.parametrize("pixels", [np.zeros((9, 9), np.float32), np.full((9, 9), 70_000, np.int32)])
def test_tiff_with_unsupported_pixels_is_an_error(root: Path, pixels: np.ndarray) -> None:
    save(root / "train/cat/b.tif", pixels)
    assert "'train/cat/b.tif: " in error_of(root)


def test_black_and_white(tmp_path: Path) -> None:
    image = Image.new("1", (32, 32), 1)
    image.putpixel((3, 5), 0)
    result = read(save(tmp_path / "a.png", image))
    assert result.sum() == 255 * 3 * 1023
    assert (result[5, 3] == 0).all()


def png_16_bit(path: Path, pixels: np.ndarray) -> Path:
    """Writes a 16-bit PNG, which Pillow cannot write in color. pixels: (H, W, 1 or 3) uint16."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    encoded = (
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(encoded))
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.fault("an image with 16 bits, CMYK, a palette or an animation", "read; the first frame of an animation")
def test_16_bit_keeps_the_high_byte(tmp_path: Path, channels: int) -> None:
    high = noise(channels=channels)
    pixels = high.astype(np.uint16) * 256 + noise(channels=channels, seed=1)
    assert (read(png_16_bit(tmp_path / "a.png", pixels)) == high).all()


@pytest.mark.fault("an image with 16 bits, CMYK, a palette or an animation", "read; the first frame of an animation")
def test_cmyk(tmp_path: Path) -> None:
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # red
    image.paste((0, 0, 0, 255), (0, 16, 32, 32))  # black
    result = read(save(tmp_path / "a.jpg", image, quality=95)).astype(int)
    assert np.abs(result[:12] - (255, 0, 0)).max() <= 3
    assert np.abs(result[20:]).max() <= 3


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, -1), (3, 2), (8, 1)])
def test_exif_orientation(tmp_path: Path, orientation: int, turns: int) -> None:
    """6: rotate 90 degrees clockwise for display; 8: counterclockwise; 3: 180 degrees."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(save(tmp_path / "a.png", exif=exif)), np.rot90(noise(), turns))


# --- Folders ---


def test_images_are_sorted_by_class_and_path(tmp_path: Path) -> None:
    """Writes files in unsorted order; pixel values identify the images."""
    paths = ["train/dog/b.png", "train/Zebra/a.png", "train/dog/a.png", "train/cat/10.png", "train/cat/2.png"]
    paths += ["test/cat/x.png", "test/dog/deep/er/y.png", "test/dog/z.png", "test/Zebra/w.png"]
    for value, path in enumerate(paths):
        save(tmp_path / path, np.full((32, 32, 3), value, np.uint8))
    data = read_folder(tmp_path)
    assert data.class_names == ["Zebra", "cat", "dog"]
    assert data.train_images.shape == (5, 3, 32, 32)
    assert data.train_images.dtype == torch.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert data.train_images[:, 0, 0, 0].tolist() == [1, 3, 4, 2, 0]
    assert data.train_labels.tolist() == [0, 1, 1, 2, 2]
    assert data.test_images[:, 0, 0, 0].tolist() == [8, 5, 6, 7]
    assert data.test_labels.tolist() == [0, 1, 2, 2]


def test_hidden_and_system_files_are_counted_and_ignored(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = ["train/.DS_Store", "train/cat/.DS_Store", "test/dog/Thumbs.db", "train/dog/desktop.ini", "train/notes.txt"]
    for name in [*files, "train/dog/a.png:Zone.Identifier", "README.md"]:
        (root / name).write_bytes(b"x")
    for place in (".git", "train/.cache", "train/__MACOSX", "test/cat/@eaDir/a.png", "train/cat/.thumbnails", "other"):
        save(root / place / "b.png")
    data = read_folder(root)
    assert data.class_names == ["cat", "dog"]
    assert (len(data.train_images), len(data.test_images)) == (2, 2)
    (message,) = caplog.messages
    assert "ignored 12 " in message
    assert "'.git', 'other', 'train/.DS_Store' and 9 more" in message


def test_val_folder_is_the_validation_set(root: Path) -> None:
    for index, place in enumerate(("val/cat", "val/dog", "val/dog")):
        save(root / place / f"{index}.png", noise(seed=index + 1))
    data = FolderData(str(root))
    data.setup()
    assert data.val_labels.tolist() == [0, 1, 1]
    assert np.array_equal(data.val_images[2].permute(1, 2, 0), noise(seed=3))
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 1], [0, 1])
    for path in (root / "val").rglob("*.png"):
        save(path, noise(seed=9))
    changed = FolderData(str(root))
    changed.setup()
    assert changed.checksum != data.checksum


def test_val_size_beside_val_folder_raises_user_error(root: Path) -> None:
    for name in ("cat", "dog"):
        save(root / "val" / name / "a.png")
    with pytest.raises(UserError, match=r"data\.val_size=0\.5 .*/val"):
        FolderData(str(root), val_size=0.5).setup()


def test_validation_size_defaults_to_a_tenth(root: Path) -> None:
    for index in range(19):
        save(root / "train/cat" / f"{index}.png")
    data = FolderData(str(root))
    data.setup()
    assert len(data.val_labels) == 2


def test_class_names_are_compared_and_stored_in_nfc(tmp_path: Path) -> None:
    for place in ("train/caf\u00e9", "train/dog", "test/cafe\u0301", "test/dog"):
        save(tmp_path / place / "a.png")
    assert read_folder(tmp_path).class_names == ["caf\u00e9", "dog"]
    save(tmp_path / "train/cafe\u0301/b.png")
    assert "ROOT/train has 'caf\u00e9' in two Unicode forms" in error_of(tmp_path)


@pytest.mark.parametrize("name", ["${oc.env:HOME}", "${x}", "${", "???", "$\\frac$", " ", "\U0001f600", "<b>", "null"])
def test_class_names_are_not_interpreted(tmp_path: Path, name: str) -> None:
    for place in ("train", "test"):
        for label in (name, "cat"):
            save(tmp_path / place / label / "a.png")
    assert set(read_folder(tmp_path).class_names) == {name, "cat"}


@pytest.mark.parametrize("name", ["a\nb", os.fsdecode(b"caf\xe9")])
def test_class_name_that_is_no_text_raises_user_error(root: Path, name: str) -> None:
    (root / "train" / name).mkdir()
    assert f"ROOT/train has a class name that is not UTF-8 text: {name!r}" in error_of(root)


def test_fingerprint_depends_on_names_and_sizes(root: Path) -> None:
    first = FolderData(str(root)).compute_fingerprint()
    (root / "train/cat/a.png").touch()
    (root / "train/.DS_Store").touch()
    assert FolderData(str(root)).compute_fingerprint() == first
    path = save(root / "train/cat" / os.fsdecode(b"caf\xe9.png"), format="PNG")
    added = FolderData(str(root)).compute_fingerprint()
    path.rename(root / "train/dog/b.png")
    assert len({first, added, FolderData(str(root)).compute_fingerprint()}) == 3


@pytest.mark.fault("loops of symbolic links", "each folder read once")
def test_linked_folders_are_read_once(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "b.png")
    (root / "train/cat/more").symlink_to(tmp_path / "elsewhere")
    (root / "train/cat/same").symlink_to(tmp_path / "elsewhere")
    (root / "train/cat/loop").symlink_to(root / "train/cat")
    (root / "train/dog/copy.png").symlink_to(root / "train/cat/a.png")
    assert read_folder(root).train_labels.tolist() == [0, 0, 1, 1]
    (root / "train/cat/self.png").symlink_to(root / "train/cat/self.png")
    assert "'train/cat/self.png: Too many levels of symbolic links'" in error_of(root)


# --- Errors ---


def test_missing_root_or_file_as_root(tmp_path: Path) -> None:
    assert error_of(tmp_path / "no") == f"ROOT does not exist: {LAYOUT}"
    assert error_of(save(tmp_path / "a.png")) == f"ROOT is not a folder: {LAYOUT}"


def test_unreadable_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates the error: the superuser can read every folder."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert error_of(root) == "ROOT cannot be listed: Permission denied; check its permissions"


def test_missing_split(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"ROOT has no folder train/ and no folder test/: {LAYOUT}"
    save(tmp_path / "train/cat/a.png")
    assert error_of(tmp_path) == f"ROOT has no folder test/: {LAYOUT}"


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_or_too_many_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Lowers the limit from 1,000 to 3: two thousand folders take seconds."""
    assert image_folder.MAX_CLASSES == 1000
    monkeypatch.setattr(image_folder, "MAX_CLASSES", 3)
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for index in range(count):
            (tmp_path / split / f"c{index}").mkdir()
    assert error_of(tmp_path) == f"ROOT has {count} classes, expected 2 to 3: {LAYOUT}"


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val", "test")])
def test_classes_missing_in_a_split(root: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True, exist_ok=True)
    for place in ("train/ant", "train/bee", "test/owl"):
        (root / place).mkdir()
    missing = [f"{split}/{name}" for name in ("ant", "bee", "owl") for split in splits]
    missing = sorted(set(missing) - {"train/ant", "train/bee", "test/owl"})
    assert shorten(missing) in error_of(root)


def test_class_without_images(root: Path) -> None:
    (root / "train/dog/a.png").rename(root / "train/dog/.hidden.png")
    (root / "test/cat/a.png").unlink()
    expected = "ROOT has classes without images: 'train/dog', 'test/cat'; add images or remove the class"
    assert error_of(root) == expected


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("b.png", b"", "empty file"),
        ("b.jpg", b"<html>not found</html>", "not an image in a supported format"),
        ("b.tiff", b"II*", "not an image in a supported format"),
        ("b.eps", b"%!PS-Adobe-3.0 EPSF-3.0", "not an image in a supported format"),
        ("b.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a supported format"),
    ],
)
@pytest.mark.fault("an image file that is empty, truncated, no image or a decompression bomb", "reported in one line")
def test_file_that_is_not_an_image(root: Path, name: str, content: bytes, reason: str) -> None:
    (root / "test/dog" / name).write_bytes(content)
    expected = f"1 of 5 files in ROOT cannot be read as images: 'test/dog/{name}: {reason}'; repair or remove them"
    assert error_of(root) == expected


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.webp", "b.bmp", "b.gif", "b.tif", "b.avif", "b.ppm"])
@pytest.mark.fault("an image file that is empty, truncated, no image or a decompression bomb", "reported in one line")
def test_truncated_image(root: Path, name: str) -> None:
    path = save(root / "train/dog" / name, noise(48, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    pattern = rf"1 of 5 files in ROOT cannot be read as images: 'train/dog/{name}: \w.*'; repair or remove them"
    assert re.fullmatch(pattern, error_of(root))


@pytest.mark.parametrize("factor", [1.5, 3])
@pytest.mark.fault("an image file that is empty, truncated, no image or a decompression bomb", "reported in one line")
def test_decompression_bomb(root: Path, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Pillow warns above its limit and raises above twice the limit; both are errors here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    save(root / "train/dog/b.png", np.zeros((10, int(200 * factor)), np.uint8))
    assert "'train/dog/b.png: more than 2,000 pixels'" in error_of(root)


def test_unreadable_files_are_counted_and_first_ones_named(root: Path) -> None:
    for index in range(5):
        (root / "train/dog" / f"b{index}.png").touch()
    (root / "test/cat/z.txt").touch()
    expected = ", ".join(f"'train/dog/b{index}.png: empty file'" for index in range(3))
    assert f"6 of 10 files in ROOT cannot be read as images: {expected} and 3 more; repair" in error_of(root)

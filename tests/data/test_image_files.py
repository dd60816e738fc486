"""Image files as they are found in the world: hazards.md 3C, a row a test or more."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import bomb, class_folder, encoded, picture, read, ref
from PIL import Image

import zoo
from zoo.catalog.spec import ImagePreprocess
from zoo.data.batches import Loader
from zoo.data.decode import decode
from zoo.data.transforms import ImageProcessor
from zoo.data.types import ReadOptions
from zoo.errors import DataError
from zoo.verbs.check import check, without_bad_files

BROKEN = {
    "truncated.jpg": encoded(picture(7, (200, 200)), "JPEG")[:900],
    "cut.png": encoded(picture(8, (200, 200)))[:-400],
    "zero.png": b"",
    "page.jpg": b"<!DOCTYPE html><title>404</title>",
    "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_truncated_empty_or_foreign_file_stops_check_and_is_named(
    tmp_path: Path, zoo_command: Callable[..., Any], name: str
) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 8, "dog": 8})
    (root / "cat" / name).write_bytes(BROKEN[name])
    done = zoo_command("check", root)
    assert done.code == 3
    assert f"cat/{name}: " in done.out
    assert "1 of 17 images cannot be read (5.9%)" in done.out
    assert "help: delete or replace them, or add --skip-bad" in done.out


def test_a_bad_file_stops_finetune_before_training_and_is_named(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 8, "dog": 8})
    (root / "dog" / "bad.png").write_bytes(b"<html>")
    done = zoo_command("finetune", "starter/pixels", root, "--baseline", "none")
    assert done.code == 3
    assert "error[data]: 1 of 17 images cannot be read" in done.err
    assert "dog/bad.png: not an image (starts with '<html>')" in done.err
    assert "--skip-bad" in done.err
    assert not (tmp_path / "runs").exists()


def test_skip_bad_drops_a_bad_file_and_the_run_records_which(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 60, "dog": 60})
    (root / "cat" / "bad.png").write_bytes(BROKEN["zero.png"])
    words = ("finetune", "starter/pixels", root, "--skip-bad", "--baseline", "none", "--json", "--name", "it")
    done = zoo_command(*words, "--strategy", "linear-probe")
    assert done.code == 0, done.err
    assert sum(json.loads(done.out)["rows"].values()) == 120
    recorded = json.loads((tmp_path / "runs" / "it" / "data.json").read_text())
    assert any("cat/bad.png: empty file" in row for problem in recorded["problems"] for row in problem["rows"])
    assert zoo.evaluate(tmp_path / "runs" / "it", device="cpu").rows == json.loads(done.out)["rows"]["val"]


def test_more_than_one_percent_of_bad_files_stops_even_with_skip_bad_unless_that_is_raised(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 9, "dog": 9})
    (root / "cat" / "bad.png").write_bytes(b"")
    data = read(root)
    with pytest.raises(DataError, match=r"1 of 19 images cannot be read") as caught:
        without_bad_files(data, ReadOptions(skip_bad=True))
    assert "1% of the images at most; --bad-limit raises that" in str(caught.value.help)
    kept = without_bad_files(data, ReadOptions(skip_bad=True, bad_limit=0.1))
    assert sum(map(len, kept.splits.values())) == 18


def test_an_image_that_breaks_after_the_check_is_named_by_the_loader(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    train = read(root).splits["train"]
    Path(str(train.inputs["image"][2].path)).write_bytes(b"")
    loader = Loader(train, {"image": ImageProcessor(ImagePreprocess((8, 8)))}, batch_size=3)
    with pytest.raises(DataError, match=rf"{train.names[2]}: empty file"):
        list(loader.epoch(0))


def test_images_that_were_looked_at_are_not_decoded_again_until_one_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4}, first=1000)
    assert check(root).ok
    looked: list[str] = []
    monkeypatch.setattr("zoo.verbs.check.examine", lambda ref: looked.append(ref.name) or decoded(ref))
    counted: list[int] = []
    assert check(root, progress=counted.append).ok
    assert (looked, sum(counted)) == ([], 8)
    picture(999).save(root / "cat" / "0.png")
    assert check(root).ok
    assert len(looked) == 8


def decoded(each: Any) -> Any:
    from zoo.data.decode import examine

    return examine(each)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_anywhere_gives_a_picture_or_one_named_error_and_never_a_traceback(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]))
    body = bytearray(encoded(picture(1, (40, 30)), kind))
    for _ in range(data.draw(st.integers(1, 12))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    mode, said = "RGB", "some.file: "
    try:
        mode = decode(ref(bytes(body[: data.draw(st.integers(0, len(body)))]), "some.file")).mode
    except DataError as error:
        said = error.what
    assert mode == "RGB"
    assert said.startswith("some.file: ")


def test_a_file_damaged_within_its_pixels_is_never_repaired_and_the_docs_say_so(tmp_path: Path) -> None:
    path = tmp_path / "photos" / "cat" / "damaged.jpg"
    class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    body = bytearray(encoded(picture(3, (160, 120)), "JPEG"))
    body[len(body) // 2 : len(body) // 2 + 8] = b"\x11" * 8
    path.write_bytes(body)
    check(tmp_path / "photos")
    assert path.read_bytes() == bytes(body)
    assert "never repaired" in str(decode.__doc__)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_and_its_upright_twin_have_the_same_embedding(tmp_path: Path, orientation: int) -> None:
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    root = class_folder(tmp_path / "photos", {"cat": 3, "dog": 3})
    upright = picture(5, (40, 24))
    stored = upright.transpose(turned[orientation]) if orientation in turned else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(root / "cat" / "a.png", exif=exif)
    upright.save(root / "dog" / "a.png")
    found = zoo.extract("starter/glyph-cnn", root, device="cpu", cache=False)
    rows = dict(zip(found.names, found.features, strict=True))
    np.testing.assert_array_equal(rows["cat/a.png"], rows["dog/a.png"])
    assert stored.size == decode(ref(encoded(upright))).size or orientation >= 5


def test_damaged_exif_does_not_cost_the_image() -> None:
    plain = encoded(picture(1), "JPEG")
    broken = encoded(picture(1), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(np.asarray(decode(ref(broken))), np.asarray(decode(ref(plain))))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_16_bit_grey_ramp_keeps_256_levels(kind: str) -> None:
    ramp = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    grey = np.asarray(decode(ref(encoded(Image.fromarray(ramp), kind))))
    assert grey.shape == (256, 256, 3)
    np.testing.assert_array_equal(np.unique(grey), np.arange(256))
    assert (grey[0, 0, 0], grey[-1, -1, 0]) == (0, 255)
    np.testing.assert_array_equal(grey[..., 0], ramp // 257)


def test_a_big_endian_16_bit_tiff_reads_as_its_little_endian_twin() -> None:
    ramp = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    header = b"MM\0*\0\0\0\x08"
    fields = [(256, 4, 256), (257, 4, 256), (258, 3, 16 << 16), (259, 3, 1 << 16), (262, 3, 1 << 16), (273, 4, 200),
              (277, 3, 1 << 16), (278, 4, 256), (279, 4, 131_072)]  # fmt: skip
    table = struct.pack(">H", len(fields)) + b"".join(struct.pack(">HHII", t, k, 1, v) for t, k, v in fields)
    body = (header + table + b"\0" * 4).ljust(200, b"\0") + ramp.astype(">u2").tobytes()
    np.testing.assert_array_equal(np.asarray(decode(ref(body)))[..., 0], ramp // 257)


@pytest.mark.parametrize(("dtype", "said"), [("float32", "floating-point"), ("int32", "32-bit")])
def test_pixels_without_a_known_range_are_refused_rather_than_turned_black(dtype: str, said: str) -> None:
    body = encoded(Image.fromarray(np.linspace(0, 200, 64).reshape(8, 8).astype(dtype)), "TIFF")
    with pytest.raises(DataError, match=rf"scan.tif: {said} pixels without a known range") as caught:
        decode(ref(body, "scan.tif"))
    assert caught.value.help == "save it with 8 or 16 bits"


def hidden(mode: str) -> bytes:
    """A picture that is fully transparent on its left half and black on its right."""
    alpha = Image.new("L", (8, 4), 0)
    alpha.paste(255, (4, 0, 8, 4))
    if mode in ("RGBA", "LA"):
        image = Image.new(mode, (8, 4))
        image.putalpha(alpha)
        return encoded(image)
    if mode == "P":
        image = Image.new("P", (8, 4), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        image.paste(0, (4, 0, 8, 4))
        return encoded(image, transparency=1)
    image = Image.new(mode, (8, 4), 77 if mode == "L" else (10, 20, 30))
    image.paste(0 if mode == "L" else (0, 0, 0), (4, 0, 8, 4))
    return encoded(image, transparency=77 if mode == "L" else (10, 20, 30))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparent_pixels_are_white_whatever_colour_hides_beneath(mode: str) -> None:
    pixels = np.asarray(decode(ref(hidden(mode))))
    assert pixels.shape == (4, 8, 3)
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == 0).all()


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    pixels = np.asarray(decode(ref(encoded(Image.new("RGBA", (2, 2), (0, 100, 200, 128))))))
    np.testing.assert_allclose(pixels[0, 0], [127, 177, 227], atol=1)


def test_one_bit_grey_and_cmyk_images_become_the_colours_they_show() -> None:
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert np.asarray(decode(ref(encoded(bits)))).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    assert np.asarray(decode(ref(encoded(Image.new("L", (1, 1), 90))))).tolist() == [[[90, 90, 90]]]
    cyan = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    np.testing.assert_allclose(np.asarray(decode(ref(cyan)))[8, 8], [0, 255, 255], atol=3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_used_and_their_number_is_said(tmp_path: Path, kind: str) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    flat = [Image.new("RGB", (16, 12), colour) for colour in ("red", "green", "blue")]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    (root / "cat" / "moving").write_bytes(encoded(flat[0], kind, save_all=True, append_images=flat[1:], **options))
    pixels = np.asarray(decode(ref((root / "cat" / "moving").read_bytes())))
    assert pixels.shape == (12, 16, 3)
    np.testing.assert_array_equal(pixels[0, 0], [255, 0, 0])
    report = check(root)
    assert report.ok
    said = next(problem for problem in report.problems if problem.kind == "frames")
    assert (said.level, said.rows) == ("warning", ("cat/moving",))
    assert said.message == "1 image is animated or of several pages: the first frame is used"


def test_a_small_file_of_four_hundred_million_pixels_is_refused_before_it_is_unpacked(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    (root / "cat" / "bomb.png").write_bytes(bomb())
    assert (root / "cat" / "bomb.png").stat().st_size < 70_000
    usual = Image.MAX_IMAGE_PIXELS
    done = zoo_command("check", root)
    assert done.code == 3
    assert "cat/bomb.png: 400,000,000 pixels, more than the limit of 100,000,000" in done.out
    assert usual == Image.MAX_IMAGE_PIXELS
    assert usual is not None


def test_the_limit_of_pixels_is_an_option_that_the_loader_keeps_too(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    done = zoo_command("check", root, "--max-pixels", 300)
    assert done.code == 3
    assert "24 x 16 pixels, more than the limit of 300" in done.out
    train = read(root, max_pixels=300).splits["train"]
    with pytest.raises(DataError, match="more than the limit of 300") as caught:
        list(Loader(train, {"image": ImageProcessor(ImagePreprocess((8, 8)))}, batch_size=2).epoch(0))
    assert caught.value.help == "shrink it, or raise --max-pixels"


def test_a_greater_limit_of_pixels_lets_a_greater_image_through() -> None:
    body = bomb(14_000)  # 196 million, more than Pillow itself would take
    with pytest.raises(DataError, match="more than the limit of 100,000,000"):
        decode(ref(body))
    assert decode(ref(body, max_pixels=200_000_000)).size == (14_000, 14_000)


def test_images_of_a_few_pixels_are_decoded_and_warned_of(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    Image.new("RGB", (1, 1), "red").save(root / "cat" / "dot.png")
    Image.new("RGB", (1, 4000), "blue").save(root / "dog" / "line.png")
    report = check(root)
    assert report.ok
    said = next(problem for problem in report.problems if problem.kind == "tiny-image")
    assert said.level == "warning"
    assert said.message == "2 images are smaller than 8 px on a side"
    assert set(said.rows) == {"cat/dot.png", "dog/line.png"}


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1), (3, 200)])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_a_strip_is_brought_to_size_without_filling_the_memory(size: tuple[int, int], fit: Any) -> None:
    processor = ImageProcessor(ImagePreprocess((224, 224), resize=256 if fit == "crop" else None, fit=fit))
    assert processor(Image.new("RGB", size, "red")).shape == (3, 224, 224)

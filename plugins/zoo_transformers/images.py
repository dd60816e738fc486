"""preprocessor_config.json as zoo's preprocessing value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo import IMAGENET_MEAN, IMAGENET_STD, ImagePreprocess, Interpolation, UsageError

HALF = (0.5, 0.5, 0.5)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_RESAMPLE: Mapping[int, Interpolation] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}

DEFAULTS: Mapping[str, ImagePreprocess] = {
    "vit": ImagePreprocess((224, 224), fit="squash", mean=HALF, std=HALF),
    "deit": ImagePreprocess((224, 224), resize=256, interpolation="bicubic"),
    "beit": ImagePreprocess((224, 224), fit="squash", mean=HALF, std=HALF),
    "swin": ImagePreprocess((224, 224), fit="squash", interpolation="bicubic"),
    "dinov2": ImagePreprocess((224, 224), resize=256, interpolation="bicubic"),
    "convnext": ImagePreprocess((224, 224), resize=256, interpolation="bicubic"),
    "crop": ImagePreprocess((224, 224), resize=256),
    "squash": ImagePreprocess((224, 224), fit="squash"),
    "clip": ImagePreprocess((224, 224), interpolation="bicubic", mean=CLIP_MEAN, std=CLIP_STD),
}
"""As the published weights of these families were trained; used where a folder brings no preprocessor_config.json."""

_LIKE: Mapping[str, str] = {
    "data2vec-vision": "beit",
    "clip_vision_model": "clip",
    "mlcd_vision_model": "clip",
    "swinv2": "swin",
    "dinov2_with_registers": "dinov2",
    "convnextv2": "convnext",
    "resnet": "convnext",
    "regnet": "convnext",
    "siglip_vision_model": "vit",
    "ijepa": "vit",
}


def image_preprocess(values: Mapping[str, Any] | None, config: Mapping[str, Any]) -> ImagePreprocess:
    """What an image processor of transformers does to an image, as a value.

    One thing differs: where transformers squashes an image to a square and then cuts the centre (old DeiT files),
    the shorter side is resized instead, as these weights' authors do.

    Raises:
        UsageError: something that `ImagePreprocess` cannot say.
    """
    if values is None:
        return _default(config)
    kind = str(values.get("image_processor_type", values.get("feature_extractor_type", "")))
    factor = float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0
    if values.get("rescale_offset"):
        raise UsageError(f"the {kind} shifts pixels after scaling them, which zoo does not do")
    mean, std = _normalisation(values, config, factor)
    if kind.startswith("EfficientNet") and values.get("include_top"):
        std = tuple(each * each for each in std)  # It divides by the deviation twice.
    size, resize, fit = _geometry(values, kind, config)
    interpolation = _RESAMPLE.get(int(values.get("resample", 2)), "bilinear")
    return ImagePreprocess(size, resize, fit, interpolation, mean, std)


def _default(config: Mapping[str, Any]) -> ImagePreprocess:
    family = str(config["model_type"])
    base = DEFAULTS.get(_LIKE.get(family, family), DEFAULTS["squash"])
    size = config.get("image_size")
    height, width = (size, size) if isinstance(size, int) else tuple(size[:2]) if isinstance(size, list) else base.size
    channels = int(config.get("num_channels", 3))
    resize = None if base.resize is None else int(base.resize * min(height, width) / min(base.size))
    mean, std = (base.mean, base.std) if channels == 3 else (base.mean[:1] * channels, base.std[:1] * channels)
    return ImagePreprocess((height, width), resize, base.fit, base.interpolation, mean, std)


def _normalisation(
    values: Mapping[str, Any], config: Mapping[str, Any], factor: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = int(config.get("num_channels", 3))
    if not values.get("do_normalize", True):
        mean, std = (0.0,) * channels, (1.0,) * channels
    else:
        mean = _numbers(values.get("image_mean", IMAGENET_MEAN), channels)
        std = _numbers(values.get("image_std", IMAGENET_STD), channels)
    scale = 255 * factor
    # (255 v f - m) / s = (v - m / (255 f)) / (s / (255 f)), with v in [0, 1]
    if abs(scale - 1) > 1e-6:
        return tuple(each / scale for each in mean), tuple(each / scale for each in std)
    return mean, std


def _numbers(value: Any, channels: int) -> tuple[float, ...]:
    return (float(value),) * channels if isinstance(value, int | float) else tuple(float(each) for each in value)


def _geometry(
    values: Mapping[str, Any], kind: str, config: Mapping[str, Any]
) -> tuple[tuple[int, int], int | None, Any]:
    sides, shortest = _size(values.get("size", config.get("image_size", 224)))
    side = shortest or min(sides or (224, 224))
    if kind.startswith("ConvNext"):
        if side >= 384:
            return (side, side), None, "squash"
        return (side, side), int(side / float(values.get("crop_pct") or 0.875)), "crop"
    cut = _crop(values, side) if values.get("do_center_crop") else None
    if kind.startswith("PoolFormer") and values.get("crop_pct"):
        return cut or (side, side), int(side / float(values["crop_pct"])), "crop"
    if kind.startswith("Levit") and shortest:
        return cut or (side, side), int(256 / 224 * shortest), "crop"
    if sides is not None and cut in (None, sides):
        return sides, None, "squash"
    if cut is None and isinstance(values.get("size"), int) and not kind.startswith(("CLIP", "Bit")):
        return (side, side), None, "squash"
    # Where nothing is cut and the shorter side alone is fixed, the centre is: a batch needs one shape.
    return cut or (side, side), side, "crop"


def _size(value: Any) -> tuple[tuple[int, int] | None, int | None]:
    """((H, W), None) or (None, shorter side)."""
    if isinstance(value, int):
        return None, value
    if isinstance(value, list | tuple):
        return (int(value[0]), int(value[-1])), None
    if "height" in value and "width" in value:
        return (int(value["height"]), int(value["width"])), None
    if "shortest_edge" in value:
        return None, int(value["shortest_edge"])
    raise UsageError(
        f"an image size of {value} is not one that zoo knows", help="it knows height and width, or shortest_edge"
    )


def _crop(values: Mapping[str, Any], side: int) -> tuple[int, int]:
    sides, shortest = _size(values.get("crop_size", side))
    return sides or (shortest or side, shortest or side)

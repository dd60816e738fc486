"""Image backbones."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_transformers.known.entry import IN1K, IN21K, Entry, encoder


def images() -> Iterator[Entry]:
    """Transformers, then pyramids and convolutional networks."""
    yield from _vit()
    yield from _pyramids()


def _vit() -> Iterator[Entry]:
    tiny, small = encoder(12, 192, 3), encoder(12, 384, 6)
    base, large = encoder(12, 768, 12), encoder(24, 1024, 16)
    paper = "https://arxiv.org/abs/2010.11929"
    for name, sizes, patch, size, trained, pooler in (
        ("vit-base-patch16-224", base, 16, 224, f"{IN21K}, {IN1K}", False),
        ("vit-base-patch16-384", base, 16, 384, f"{IN21K}, {IN1K}", False),
        ("vit-base-patch32-384", base, 32, 384, f"{IN21K}, {IN1K}", False),
        ("vit-large-patch16-224", large, 16, 224, f"{IN21K}, {IN1K}", False),
        ("vit-base-patch16-224-in21k", base, 16, 224, IN21K, True),
        ("vit-base-patch32-224-in21k", base, 32, 224, IN21K, True),
        ("vit-large-patch16-224-in21k", large, 16, 224, IN21K, True),
    ):
        config = {**sizes, "patch_size": patch, "image_size": size}
        repo = f"google/{name}"
        yield Entry(repo, "vit", config, "Apache-2.0", trained, paper, preprocess="vit", without_pooler=not pooler)
    paper = "https://arxiv.org/abs/2012.12877"
    for name, sizes in (("tiny", tiny), ("small", small), ("base", base)):
        plain, taught = f"facebook/deit-{name}-patch16-224", f"facebook/deit-{name}-distilled-patch16-224"
        yield Entry(plain, "vit", sizes, "Apache-2.0", IN1K, paper, preprocess="deit", without_pooler=True)
        yield Entry(taught, "deit", sizes, "Apache-2.0", IN1K, paper, preprocess="deit", without_pooler=True)
    paper = "https://arxiv.org/abs/2104.14294"
    for name, sizes, patch in (("vits16", small, 16), ("vits8", small, 8), ("vitb16", base, 16), ("vitb8", base, 8)):
        config = {**sizes, "patch_size": patch}
        repo = f"facebook/dino-{name}"
        yield Entry(repo, "vit", config, "Apache-2.0", IN1K, paper, preprocess="squash", without_pooler=True)
    paper = "https://arxiv.org/abs/2106.08254"
    beit = {"use_mask_token": False, "use_relative_position_bias": True, "layer_scale_init_value": 0.1}
    for name, sizes in (("base", base), ("large", large)):
        config = {**sizes, **beit, **({"layer_scale_init_value": 1e-5} if name == "large" else {})}
        repo = f"microsoft/beit-{name}-patch16-224"
        yield Entry(repo, "beit", config, "Apache-2.0", f"{IN21K}, {IN1K}", paper, preprocess="beit")
    paper = "https://arxiv.org/abs/2304.07193"
    for name, sizes in (("small", small), ("base", base), ("large", large)):
        config = {**sizes, "patch_size": 14, "image_size": 518, "mlp_ratio": 4}
        repo = f"facebook/dinov2-{name}"
        yield Entry(repo, "dinov2", config, "Apache-2.0", "LVD-142M", paper, size=224, preprocess="dinov2")
        repo = f"facebook/dinov2-with-registers-{name}"
        registers = {**config, "num_register_tokens": 4}
        yield Entry(
            repo, "dinov2_with_registers", registers, "Apache-2.0", "LVD-142M", "https://arxiv.org/abs/2309.16588",
            size=224, preprocess="dinov2",
        )  # fmt: skip
    paper = "https://arxiv.org/abs/2111.06377"
    for name, sizes in (("base", base), ("large", large)):
        repo = f"facebook/vit-mae-{name}"
        yield Entry(repo, "vit_mae", sizes, "Apache-2.0", IN1K, paper, preprocess="squash")
    yield Entry(
        "facebook/vit-msn-small", "vit_msn", small, "Apache-2.0", IN1K, "https://arxiv.org/abs/2204.07141",
        preprocess="squash",
    )  # fmt: skip


def _pyramids() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/2103.14030"
    for name, embed, depths, heads in (
        ("tiny", 96, [2, 2, 6, 2], [3, 6, 12, 24]),
        ("small", 96, [2, 2, 18, 2], [3, 6, 12, 24]),
        ("base", 128, [2, 2, 18, 2], [4, 8, 16, 32]),
    ):
        config = {"embed_dim": embed, "depths": depths, "num_heads": heads, "window_size": 7}
        repo = f"microsoft/swin-{name}-patch4-window7-224"
        yield Entry(repo, "swin", config, "Apache-2.0", IN1K, paper, preprocess="swin")
    paper = "https://arxiv.org/abs/2201.03545"
    for name, depths, sizes in (
        ("tiny", [3, 3, 9, 3], [96, 192, 384, 768]),
        ("small", [3, 3, 27, 3], [96, 192, 384, 768]),
        ("base", [3, 3, 27, 3], [128, 256, 512, 1024]),
        ("large", [3, 3, 27, 3], [192, 384, 768, 1536]),
    ):
        config = {"depths": depths, "hidden_sizes": sizes}
        repo = f"facebook/convnext-{name}-224"
        yield Entry(repo, "convnext", config, "Apache-2.0", IN1K, paper, preprocess="convnext")
    second = {"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]}
    paper = "https://arxiv.org/abs/2301.00808"
    yield Entry(
        "facebook/convnextv2-tiny-1k-224", "convnextv2", second, "Apache-2.0", IN1K, paper, preprocess="convnext"
    )
    paper = "https://arxiv.org/abs/1512.03385"
    for depth, layer, depths in (
        (18, "basic", [2, 2, 2, 2]),
        (34, "basic", [3, 4, 6, 3]),
        (26, "bottleneck", [2, 2, 2, 2]),
        (50, "bottleneck", [3, 4, 6, 3]),
        (101, "bottleneck", [3, 4, 23, 3]),
        (152, "bottleneck", [3, 8, 36, 3]),
    ):
        sizes = [64, 128, 256, 512] if layer == "basic" else [256, 512, 1024, 2048]
        config = {"depths": depths, "hidden_sizes": sizes, "layer_type": layer}
        repo = f"microsoft/resnet-{depth}"
        yield Entry(repo, "resnet", config, "Apache-2.0", IN1K, paper, preprocess="convnext")
    yield Entry("google/mobilenet_v2_1.0_224", "mobilenet_v2", {}, "other", IN1K, dim=1280, size=224, preprocess="crop")

"""Plugins made for the benchmarks, as an installer would leave them: packages and the metadata beside them."""

from __future__ import annotations

from pathlib import Path

PLUGIN = """
from zoo import BackboneSpec, ImagePreprocess, hookimpl

zoo_api = 1


@hookimpl
def zoo_backbones():
    return [
        BackboneSpec(
            source="{name}",
            architecture=f"tiny{{number}}",
            factory="{package}.network:build",
            modalities=("image",),
            family="tiny",
            dim=16,
            params=448,
            image_size=8,
            stages=("body",),
            preprocess={{"image": ImagePreprocess(size=(8, 8), fit="squash")}},
        )
        for number in range({backbones})
    ]
"""
NETWORK = '''
import zlib

import torch
import zoo


class Tiny(zoo.Backbone):
    """One convolution, whose weights are those of its name."""

    modalities = ("image",)

    def __init__(self, request):
        super().__init__()
        self.spec, self.dim, self.preprocess = request.spec, 16, request.preprocess["image"]
        with torch.random.fork_rng():
            torch.manual_seed(zlib.crc32(self.spec.name.encode()))
            self.body = torch.nn.Conv2d(3, 16, 3)

    def forward(self, batch):
        found = self.body(batch["image"]["pixels"]).relu()
        grid = (found.shape[2], found.shape[3])
        return zoo.Features(pooled=found.mean((2, 3)), tokens=found.flatten(2).transpose(1, 2), grid=grid)

    def stages(self):
        return [zoo.Stage("body", (self.body,))]

    def processor(self, modality):
        return zoo.ImageProcessor(self.preprocess)


def build(request):
    return Tiny(request)
'''


def write_plugins(site: Path, plugins: int, backbones: int) -> None:
    """So many distributions, each a plugin with so many backbones."""
    for number in range(plugins):
        name = f"made{number}"
        package, info = site / f"zoo_{name}", site / f"zoo_{name}-1.0.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (package / "__init__.py").write_text(PLUGIN.format(name=name, package=package.name, backbones=backbones))
        (package / "network.py").write_text(NETWORK)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: zoo-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[zoo]\n{name} = {package.name}\n")
        (info / "RECORD").write_text("")

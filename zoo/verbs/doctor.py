"""What this machine has, and what will not work on it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

Level = Literal["ok", "warn", "fail"]
FLOORS = {
    "torch": "2.11",
    "torchvision": "0.26",
    "transformers": "5.5",
    "open-clip-torch": "3.0",
    "timm": "1.0",
    "accelerate": "1.10",
    "scikit-learn": "1.5",
    "pyarrow": "15",
    "pillow": "11",
}
SHADOWS = ("torch", "torchvision", "transformers", "timm", "open_clip", "numpy", "datasets", "zoo")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    help: str | None = None


def doctor() -> list[Finding]:
    """Versions, device, threads, caches, plugins and files that stand in the way."""
    return [*_versions(), *_torch(), *_threads(), *_caches(), *_plugins(), *_shadows()]


def _versions() -> list[Finding]:
    from packaging.version import Version

    found = [Finding("ok", f"python {platform.python_version()}")]
    for name, floor in FLOORS.items():
        try:
            have = version(name)
        except PackageNotFoundError:
            found.append(Finding("fail", f"{name} is not installed", f"pip install {name}"))
            continue
        if Version(have) < Version(floor):
            found.append(Finding("fail", f"{name} {have} is older than {floor}", f"pip install -U {name}"))
        else:
            found.append(Finding("ok", f"{name} {have}"))
    return found


def _torch() -> list[Finding]:
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        return [Finding("fail", f"torch and torchvision do not load together: {first}", "install a matching pair")]
    found = [Finding("ok", f"torch and torchvision {torchvision.__version__} load together")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            found.append(Finding("ok", f"cuda:{index} {name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"))
    elif torch.version.cuda and Path("/proc/driver/nvidia").exists():
        mend = "update the driver, or install a torch built for it"
        found.append(
            Finding("warn", f"there is an NVIDIA driver that torch (CUDA {torch.version.cuda}) cannot use", mend)
        )
    else:
        found.append(Finding("ok", "no GPU; everything runs on the CPU"))
    return found


def _threads() -> list[Finding]:
    cores = os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS")
    found = [
        Finding("ok", f"{cores} cores, {threads or 'all'} threads, wait policy {os.environ.get('OMP_WAIT_POLICY')}")
    ]
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * cores:
        mend = "set OMP_NUM_THREADS=1 or 2"
        found.append(
            Finding("warn", f"the machine is busy (load {os.getloadavg()[0]:.1f}); small models will be slow", mend)
        )
    return found


def _caches() -> list[Finding]:
    from zoo.models.fetching import is_offline
    from zoo.records.home import cache_home

    home = cache_home()
    features = sum(f.stat().st_size for f in (home / "features").rglob("*.safetensors")) if home.exists() else 0
    found = [Finding("ok", f"cache {home}, {features / 1e6:.0f} MB of features")]
    if is_offline():
        found.append(Finding("ok", "offline: weights come from caches only"))
    return found


def _plugins() -> list[Finding]:
    from zoo.catalog.discovery import discovered

    found = []
    for report in discovered().reports:
        what = f"plugin {report.name} of {report.distribution} {report.version}"
        if report.status == "failed":
            mend = f"mend or remove it, or set ZOO_DISABLE={report.name}"
            found.append(Finding("fail", f"{what}: {report.error}", mend))
        else:
            found.append(Finding("ok", f"{what}: {report.status}, {report.backbones:,} backbones"))
    return found


def _shadows() -> list[Finding]:
    here = Path.cwd()
    found = []
    for name in SHADOWS:
        if (here / f"{name}.py").is_file():
            mend = "rename it; `python -m` and `python -c` would import it in place of the library"
            found.append(Finding("warn", f"{name}.py in this folder hides the library of that name", mend))
    return found

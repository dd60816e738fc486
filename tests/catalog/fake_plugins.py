"""Plugin distributions as an installer leaves them: a package folder and a dist-info folder beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

GOOD = """
    from zoo import BackboneSpec, hookimpl

    zoo_api = 1

    @hookimpl
    def zoo_backbones():
        return [BackboneSpec("fake", "tiny", "fake_factory:build", ("image",), "tiny")]
"""


@dataclass(frozen=True)
class Site:
    """A folder of fake distributions, and the program run with it on its path."""

    folder: Path

    def install(
        self, distribution: str, code: str = GOOD, *, name: str | None = None, entry: str | None = None
    ) -> None:
        """A distribution with one plugin; `code` is its module, `entry` what its entry point names."""
        module = distribution.replace("-", "_")
        (self.folder / f"{module}.py").write_text(dedent(code), encoding="utf-8")
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
        self.declare(distribution, f"[zoo]\n{name or module} = {entry or module}\n")

    def declare(self, distribution: str, text: str) -> None:
        """Its entry_points.txt."""
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")

    def zoo(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the program; standard input is closed."""
        return self.python("-m", "zoo", *words, **environ)

    def python(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these distributions on its path."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ZOO_P")}
        path = os.pathsep.join(filter(None, [str(self.folder), kept.get("PYTHONPATH")]))
        given = {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environ}
        return subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env=given,
            cwd=self.folder,
        )

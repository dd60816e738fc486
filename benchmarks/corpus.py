"""Texts that every machine has: the docstrings of Python's own library, twenty words to hundreds."""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = frozenset({"site-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"})


def docstrings(count: int, seed: int = 0) -> list[str]:
    """So many different docstrings of the standard library, of twenty words or more, drawn by the seed."""
    found = sorted({text for text in _all() if len(text.split()) >= 20})
    return random.Random(seed).sample(found, count)


def _all() -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        if LEFT_OUT & set(file.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text

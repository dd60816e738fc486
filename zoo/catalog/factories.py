"""Import paths to the things they name, imported at first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from zoo.errors import PluginError


def import_factory(path: str, of: str) -> Callable[..., Any]:
    """What `module:attribute` names.

    Raises:
        PluginError: it cannot be imported.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"the factory '{path}' of {of} cannot be imported: {error}",
            help="`zoo plugins` shows which package it comes from; re-install that one",
        ) from error

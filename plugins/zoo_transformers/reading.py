"""JSON files of model folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zoo import WeightsError


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        WeightsError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", help="fetch it again") from error

"""Well-known hub ids and what their configurations say, from memory of the published files; facts not sure are None."""

from __future__ import annotations

from zoo_transformers.known.audio import audio
from zoo_transformers.known.entry import Entry as Entry
from zoo_transformers.known.images import images
from zoo_transformers.known.joint import joint
from zoo_transformers.known.sentences import sentences
from zoo_transformers.known.texts import texts

ENTRIES: tuple[Entry, ...] = (*texts(), *sentences(), *images(), *joint(), *audio())
"""In the order in which `zoo list` shows them by default."""

"""Which version of the plugin contract this zoo and a plugin both know."""

from __future__ import annotations

from zoo.catalog.spec import API_VERSION
from zoo.errors import PluginError

OLDEST_API = 1
"""The oldest version that still loads. Where it is below API_VERSION, the next minor release may raise it, and every
plugin that knows no newer one is warned of until then."""


def agreed(declared: object, *, oldest: int = OLDEST_API, newest: int = API_VERSION) -> int:
    """The newest version that both know.

    Args:
        declared: a plugin's `zoo_api`: a whole number, or a tuple of all that it can serve.
        oldest: that this zoo still loads.
        newest: that this zoo has.

    Raises:
        PluginError: they have none in common, or what is declared is no version.
    """
    known = declared if isinstance(declared, tuple) and declared else (declared,)
    if not all(type(each) is int for each in known):
        raise PluginError(
            f"it was built for plugin API {declared!r:.40}, no whole number or tuple of them; upgrade the plugin"
        )
    common = [each for each in known if oldest <= each <= newest]
    if not common:
        words = " and ".join(map(str, known))
        have = str(newest) if oldest == newest else f"{oldest} to {newest}"
        mend = "upgrade zoo" if min(known) > newest else "upgrade the plugin"
        raise PluginError(f"it was built for plugin API {words}, this zoo has {have}; {mend}")
    return int(max(common))


def deprecation(agreed_on: int | None, *, newest: int = API_VERSION) -> str | None:
    """What is said of a plugin whose newest version is not zoo's newest; None if all is well."""
    if agreed_on is None or agreed_on >= newest:
        return None
    return f"knows plugin API {agreed_on} and not {newest}; the next minor release of zoo will leave it out: upgrade it"

"""WHAT EXISTS: frozen specs, hooks, plugin discovery. No torch, no numpy."""

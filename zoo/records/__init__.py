"""WHAT HAPPENED: content-addressed cache, checkpoints, run folders. No torch at import."""

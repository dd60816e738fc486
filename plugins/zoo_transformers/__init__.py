"""The transformers plugin."""

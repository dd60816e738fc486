"""The open_clip plugin."""

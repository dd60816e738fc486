"""The starter plugin."""

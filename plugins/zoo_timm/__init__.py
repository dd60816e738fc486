"""The timm plugin."""

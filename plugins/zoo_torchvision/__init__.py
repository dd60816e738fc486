"""The torchvision plugin."""

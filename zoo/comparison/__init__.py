"""Backbones of any modality on the same rows: what is measured, and how sure it is."""

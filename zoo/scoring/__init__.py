"""Transferability scores: what frozen features say of a backbone before it is fine-tuned. No torch."""

"""EXAMPLES: reading, splitting, checking, transforms, batches. torch inside functions only."""

"""HOW TO LEARN: strategies as tables, tasks, the training loop."""

"""HOW TO RANK: arrays in, number out; knows no backbone."""

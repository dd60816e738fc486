"""WHAT A USER SAYS: one file, one function, one command; returns a frozen result, prints nothing."""

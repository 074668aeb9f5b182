"""`perception doctor`: looks at the machine and at a running cell; every finding is one line with its remedy."""

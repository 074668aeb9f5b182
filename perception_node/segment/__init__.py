"""Colour and depth in, one label per package out: the network's contract, its runtimes and the grouping of pixels."""

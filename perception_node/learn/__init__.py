"""Data sets, training, judging and export: with `segment/model.py` the only place that needs torch."""

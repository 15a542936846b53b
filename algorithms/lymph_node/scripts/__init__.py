"""Training and evaluation of the detectors."""

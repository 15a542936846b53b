"""Training, evaluation and pictures of this bundle; not needed to run it."""

"""Training and evaluation of slice_lesion; inference needs none of it."""

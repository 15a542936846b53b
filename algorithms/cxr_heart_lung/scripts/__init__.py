"""Training and evaluation of `cxr_heart_lung`; inference needs none of it."""

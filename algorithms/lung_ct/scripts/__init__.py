"""What training and evaluation of the lung bundle need; inference needs none of it."""

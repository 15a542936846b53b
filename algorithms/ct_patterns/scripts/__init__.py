"""The recipe of this bundle; inference never needs it."""

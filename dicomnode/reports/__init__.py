"""Radiology reports become labels that trace back to their words."""

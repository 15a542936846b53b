"""Findings -> DICOM: SEG, SR, the gate that checks both, and a picture. Start at `results`."""

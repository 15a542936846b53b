"""Shipped fakes: synthetic studies and a PACS that misbehaves on request. No patient data."""

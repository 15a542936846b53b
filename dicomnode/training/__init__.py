"""Shipped bundles trained further on a site's own labelled images: one command, a bundle to add."""

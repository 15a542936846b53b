"""The SQL side of every room; the only importer of SQLAlchemy."""

"""Series to volumes, bundles to algorithms, and the killable process that brings them together."""

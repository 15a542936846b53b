"""The words all rooms share: frozen values, no framework, no I/O."""

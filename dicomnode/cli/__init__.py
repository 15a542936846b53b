"""The `dicomnode` command. Each group of commands has a module; heavy imports wait until needed."""

from dicomnode.cli.main import main

__all__ = ["main"]

"""What each step of `dicomnode.flow` does: rooms and store put together, no engine."""

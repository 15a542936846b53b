"""Images to workers that do not see the node's data folder, and results back."""

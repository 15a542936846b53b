"""What leaves the node for research: data sets of radiographs, key images of reports."""

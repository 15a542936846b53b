"""`dicomnode evaluate`: a bundle that reads radiographs, scored on a labelled folder.

`truths` reads the folder, `scoring` runs the bundle on it, `summary` makes the tables,
`page` the HTML.
"""

"""`dicomnode evaluate`: a bundle scored on a labelled folder.

Radiographs with classes: `truths` reads the folder, `scoring` runs the bundle on it, `summary`
makes the tables, `page` the HTML. Outlined images: `pairs`, `segments`, `segments_page`.
Marked lesions: `lesion_images` and `lesion_truths` read the folder, `lesions` runs the bundle,
`lesion_figures` counts, `lesions_page` is the HTML.
"""

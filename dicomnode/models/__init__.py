"""`dicomnode models`: bundles from elsewhere, checked, kept in versions, activated and rolled back.

`unpacking` takes a folder or zip apart safely, `weights` turns pickled weights into safetensors,
`templates` knows the Model Zoo's bundles, `adding` puts these together, `shelf` keeps versions and
which one is active, `comparing` runs two versions on the same studies.
"""

"""DICOMweb (PS3.18) over what the node holds: received images and its own results.

Start at `router.dicomweb_router`. A search passes `asking` (query to conditions), the store's
catalogue, and `entries` (what was found, as DICOM JSON). A retrieval passes `accepting` (which form
is wanted), the store's holdings, then `metadata`, `frames`, `objects` or `pictures`, and leaves in
`parts`. `problems` is how a request is refused.
"""

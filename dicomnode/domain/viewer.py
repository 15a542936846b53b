"""What can go wrong on the way to a viewer. Joins the tree of `domain.errors` below its root."""

from dicomnode.domain.errors import DicomNodeError


class ViewerUnavailable(DicomNodeError):
    """The viewer's files cannot be fetched, or are not the ones that were released."""

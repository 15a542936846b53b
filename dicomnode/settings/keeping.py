"""How long images are kept."""

from typing import Annotated

from pydantic import Field

from dicomnode.settings.values import Section

Amount = Annotated[float, Field(gt=0)]


class KeepSettings(Section):
    """Quotas for received images, and for objects in quarantine. Without any, they stay for ever.

    Only images of studies that are through go: closed, every job ended and looked at, every result
    proven to be at its destinations, not pinned. Results, findings, reports and the story stay.
    """

    images_days: Amount | None = None
    """Images of studies that came longer ago go."""
    images_gb: Amount | None = None
    """The oldest go as long as all images take more than this."""
    free_gb: Amount | None = None
    """The oldest go as long as less than this is free on the disk."""
    quarantine_days: Amount | None = None
    """Objects in quarantine that came longer ago go, once a person has looked at them."""
    quarantine_gb: Amount | None = None
    """The oldest that a person has looked at go as long as all of them take more than this."""

"""Which of a job's objects each destination gets."""

from collections.abc import Sequence

from dicomnode.domain.results import USUAL_KINDS, EncodedObject, Parcel, ResultKind
from dicomnode.settings import Settings

OVERLAP = "segments overlap, which a LABELMAP cannot hold"


def kinds_to_make(settings: Settings, destinations: Sequence[str]) -> frozenset[ResultKind]:
    """SEG and SR, and whatever else one of the destinations wants."""
    return USUAL_KINDS.union(*(_wanted(settings, name) for name in destinations))


def _wanted(settings: Settings, name: str) -> frozenset[ResultKind]:
    known = settings.destination(name)
    # It may have been taken out of the settings since; its outbox then says so.
    return known.kinds if known else USUAL_KINDS


def parcels_of(
    objects: Sequence[EncodedObject], settings: Settings, destinations: Sequence[str]
) -> tuple[Parcel, ...]:
    """What goes to each destination.

    A LABELMAP that could not be made is replaced by the SEG, and the report that would refer to it
    by the one that refers to the SEG.
    """
    made = {encoded.kind for encoded in objects}
    parcels = []
    for name in destinations:
        wanted, reason = _wanted(settings, name), ""
        if ResultKind.LABELMAP in wanted and ResultKind.LABELMAP not in made:
            wanted = frozenset(kind.twin for kind in wanted)
            reason = OVERLAP if ResultKind.SEG in made else ""
        parcels.append(
            Parcel(
                destination=name,
                objects=tuple(encoded for encoded in objects if encoded.kind in wanted),
                fell_back_because=reason,
            )
        )
    return tuple(parcels)

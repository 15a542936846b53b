"""Does the destination really hold what it said it took? Asked by C-FIND."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from pynetdicom.association import Association

from dicomnode.deliver.association import Peer, associate
from dicomnode.deliver.find import (
    Level,
    LevelRefused,
    find,
    find_contexts,
    returned_count,
    returned_uid,
)
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.results import EncodedObject
from dicomnode.settings import CountQuery, Destination


def read_back(
    objects: Sequence[EncodedObject], destination: Destination, *, own_ae: str
) -> Mapping[InstanceUid, bool]:
    """For each object: True if the destination's own index shows it.

    Asked at IMAGE level, where only an equal SOPInstanceUID counts. Where the peer refuses that
    level, at SERIES level: our series must hold at least as many instances as we sent into it.
    False may also mean "not indexed yet": many archives answer C-STORE before they index.

    Raises:
        PeerUnavailable, AssociationRejected, PeerBusy: not known; ask again later.
        ServiceRefused: the peer answers no such C-FIND, so nothing can be proven this way.
    """
    peer = Peer.of(destination)
    found: dict[InstanceUid, bool] = {}
    with associate(peer, find_contexts(), own_ae=own_ae) as assoc:
        try:
            for encoded in objects:
                found[encoded.sop_instance_uid] = _shows_instance(assoc, encoded, peer)
        except LevelRefused:
            in_order = sorted(objects, key=lambda encoded: encoded.series_uid)
            for _, series in groupby(in_order, key=lambda encoded: encoded.series_uid):
                members = list(series)
                shown = _shows_series(assoc, members, peer)
                found.update({encoded.sop_instance_uid: shown for encoded in members})
    return found


def _shows_instance(assoc: Association, encoded: EncodedObject, peer: Peer) -> bool:
    keys = {
        "StudyInstanceUID": encoded.study_uid,
        "SeriesInstanceUID": encoded.series_uid,
        "SOPInstanceUID": encoded.sop_instance_uid,
    }
    # Every answer has to be drawn, or the next request would meet the rest of this one's.
    shown = [
        returned_uid(identifier, "SOPInstanceUID") == encoded.sop_instance_uid
        for identifier in find(assoc, Level.IMAGE, keys, peer)
    ]
    return any(shown)


def _shows_series(assoc: Association, members: Sequence[EncodedObject], peer: Peer) -> bool:
    keys = {
        "StudyInstanceUID": members[0].study_uid,
        "SeriesInstanceUID": members[0].series_uid,
        "NumberOfSeriesRelatedInstances": "",
    }
    counts = [
        returned_count(identifier, "NumberOfSeriesRelatedInstances")
        for identifier in find(assoc, Level.SERIES, keys, peer)
        if returned_uid(identifier, "SeriesInstanceUID") == members[0].series_uid
    ]
    if counts and counts[0] is None:
        raise LevelRefused(f"{peer}: returns neither instances nor NumberOfSeriesRelatedInstances")
    return any(count is not None and count >= len(members) for count in counts)


def count_instances(
    study_uid: str, query: CountQuery, *, own_ae: str, timeout_s: float = 10.0
) -> int | None:
    """How many instances the sender's archive says the study has; None if it does not say.

    NumberOfStudyRelatedInstances (0020,1208) at STUDY level (PS3.4 C.3.4.1). A study the peer does
    not know is None too: a sender that has not indexed its own study says nothing.

    Raises:
        PeerUnavailable, AssociationRejected, PeerBusy, ServiceRefused: it could not be asked.
    """
    peer = Peer.asked(query, timeout_s=timeout_s)
    keys = {"StudyInstanceUID": study_uid, "NumberOfStudyRelatedInstances": ""}
    with associate(peer, find_contexts(), own_ae=own_ae) as assoc:
        counts = [
            returned_count(identifier, "NumberOfStudyRelatedInstances")
            for identifier in find(assoc, Level.STUDY, keys, peer)
            if returned_uid(identifier, "StudyInstanceUID") == study_uid
        ]
    return counts[0] if counts else None

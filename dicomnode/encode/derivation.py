"""What result objects follow from, and the UIDs that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid, derived_uid
from dicomnode.domain.results import ResultKind
from dicomnode.domain.volumes import Volume

IMPLEMENTATION_CLASS_UID = derived_uid("dicomnode", "implementation class")
"""Goes into the file meta information of every object written here (PS3.10 7.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """A report of an earlier revision, or of an earlier run, that this one supersedes."""

    study_uid: StudyUid
    series_uid: SeriesUid
    sop_class_uid: str
    sop_instance_uid: InstanceUid
    kind: ResultKind = ResultKind.SR
    """SR or LABELMAP_REPORT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """Everything besides findings and images that ends up in the objects of one job.

    Equal derivations of equal findings give byte-identical files.
    """

    job_key: str
    """Stable name of the work: same inputs and rule, same key, on every machine."""
    revision: int
    """Of the study, 1, 2, ..."""
    made_at: datetime
    """Content date and time; timezone-aware. Of the job, not of the clock, so that a rerun agrees.

    Written in the source's own offset where it states one, else as given: pass local time.
    """
    software_versions: tuple[str, ...]
    """What ran, e.g. `dicomnode 0.1.0`; at least one, each 64 characters at most."""
    predecessors: tuple[Predecessor, ...] = ()
    """Reports of the earlier revision."""
    earlier_runs: tuple[Predecessor, ...] = ()
    """Reports of earlier runs of the same job, in the order they were made. A run that says the
    same as the last of them makes the same objects; what says anything else supersedes them."""
    complete: bool = True
    """False: images may be missing (the study was closed by its hard limit); the SR is PARTIAL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultUids:
    """The UIDs of the objects of one job on one series."""

    job_key: str
    revision: int
    algorithm: tuple[str, str, str]
    """Name, version, model digest."""
    series_uid: SeriesUid
    content: str = ""
    """Digest of what the objects say, and of the reports they supersede; empty: it is not known
    yet, and only `tracking` can be asked."""

    @classmethod
    def of(
        cls, derivation: Derivation, identity: AlgorithmIdentity, volume: Volume
    ) -> "ResultUids":
        """The UIDs that follow from these inputs."""
        return cls(
            job_key=derivation.job_key,
            revision=derivation.revision,
            algorithm=(identity.name, identity.version, identity.model_digest),
            series_uid=volume.series_uid,
        )

    def saying(self, content: str, earlier: Sequence[InstanceUid] = ()) -> "ResultUids":
        """Those of objects of this content, after the reports of earlier runs.

        A PACS that has an object never takes another one of its UID, so a changed result has UIDs
        of its own. The last report's come again if the content is still what it says.
        """
        last = earlier[-1:]
        if (
            last
            and (again := self._following(content, earlier[:-1])).instance(ResultKind.SR) == last[0]
        ):
            return again
        return self._following(content, earlier)

    def instance(self, kind: ResultKind) -> InstanceUid:
        """SOPInstanceUID of the object of this kind."""
        return InstanceUid(self._object_uid("instance", kind))

    def series(self, kind: ResultKind) -> SeriesUid:
        """SeriesInstanceUID; one series an object, as viewers show only the last of a series."""
        return SeriesUid(self._object_uid("series", kind))

    def dimensions(self, kind: ResultKind) -> str:
        """DimensionOrganizationUID."""
        return self._object_uid("dimensions", kind)

    def tracking(self, identifier: str) -> str:
        """Tracking Unique Identifier, the same in SEG and SR (PS3.16 TID 4108), and in a rerun."""
        return self._uid("tracking", identifier)

    def _following(self, content: str, earlier: Sequence[InstanceUid]) -> "ResultUids":
        return replace(self, content=derived_uid("content", content, *earlier))

    def _object_uid(self, role: str, kind: ResultKind) -> str:
        assert self.content, "a result's UIDs follow from its content"
        return self._uid(role, kind.value, self.content)

    def _uid(self, *role: str) -> str:
        return derived_uid(
            "result", self.job_key, str(self.revision), *self.algorithm, self.series_uid, *role
        )


def device_uid(identity: AlgorithmIdentity) -> str:
    """Device Observer UID of an algorithm (PS3.16 TID 1004)."""
    return derived_uid("device", identity.name, identity.version, identity.model_digest)

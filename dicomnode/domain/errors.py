"""Everything that can go wrong, as one tree.

DicomNodeError
├── ConfigError                       settings; all faults at once
├── ReceiveError                      answered to the sender as a DIMSE status
│   ├── NotAdmitted
│   ├── InvalidUid
│   ├── StorageFull          (retry)
│   └── InstanceUnreadable
├── StudyError
├── RuleError                         a rule file that cannot be used: file, line, suggestion
├── DiskFault            (retry)      `domain.disk`: the disk could not read or write
├── PipelineError
│   ├── VolumeError
│   │   ├── MissingSlices
│   │   ├── DuplicateSlices
│   │   ├── UnevenSpacing
│   │   ├── MixedOrientation
│   │   ├── TiltedGantry
│   │   └── UnsupportedImage
│   └── AlgorithmError
│       ├── BundleInvalid
│       ├── InputRefused
│       ├── OutOfMemory      (retry)
│       ├── TimedOut
│       ├── LoadingTimedOut  (retry)
│       ├── ChildDied        (retry)
│       └── ContractBroken
├── EncodeError
│   └── GeometryMismatch
├── DeliveryError
│   ├── PeerUnavailable      (retry)
│   ├── AssociationRejected  (retry)
│   ├── InstanceRefused
│   ├── PeerBusy             (retry)
│   ├── ObjectUnread     (retry)      `domain.delivery`
│   ├── ObjectDamaged                 `domain.delivery`
│   └── ServiceRefused                `domain.delivery`
├── StoreError
│   ├── StoreUnavailable     (retry)
│   └── ValueRefused
├── FilesError                        images and results, between a node and a worker elsewhere
│   ├── FilesUnavailable     (retry)  missing, damaged, or not for this worker
│   │   └── FilesUnreachable (retry)  no answer, or one that broke off
│   └── CacheTooSmall
├── ReportError
├── AccessError                       `domain.access`
└── Interrupted                       the node stops; the work goes on at its next start
    ├── NotWanted                     a person has taken the job back
    └── TakenOver                     another process has this work now

Raise the most exact one; translate a library's error once, at its edge, with `raise ... from`.
Whether to try again is a property of the error. Messages name what a person can do and never
carry a patient's name, identifier or report text.
"""

from collections.abc import Sequence
from typing import ClassVar, Self


class DicomNodeError(Exception):
    """Base of every error this package raises on purpose."""

    retryable: ClassVar[bool] = False


class ConfigError(DicomNodeError):
    """The settings cannot be used; `faults` lists every one found."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[str, ...]]]:
        # Errors cross the border to the child that runs a model; by default the text would go in.
        return type(self), (self.faults,)


class ReceiveError(DicomNodeError):
    """An instance could not be taken; the sender is told by status."""


class NotAdmitted(ReceiveError):
    """The peer is not on the allow list."""


class InvalidUid(ReceiveError):
    """A UID breaks PS3.5 section 9, so nothing may be named after it."""


class StorageFull(ReceiveError):
    """The spool has less free space than the reserve; 0xA700."""

    retryable = True


class InstanceUnreadable(ReceiveError):
    """The bytes are kept, but their header cannot be read."""


class DiskFault(DicomNodeError):
    """The disk could not read or write; what lies on it may be as good as ever."""

    retryable = True


class StudyError(DicomNodeError):
    """A study is not in the state that was asked for."""


class RuleError(DicomNodeError):
    """A rule file cannot be used; `faults` each name file, line and, where near, a suggestion."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[str, ...]]]:
        # Errors cross the border to the child that runs a model; by default the text would go in.
        return type(self), (self.faults,)


class PipelineError(DicomNodeError):
    """A series could not be turned into findings."""


class VolumeError(PipelineError):
    """The images do not form one regular grid."""


class MissingSlices(VolumeError):
    """There are gaps between slices."""


class DuplicateSlices(VolumeError):
    """Two images lie at one position."""


class UnevenSpacing(VolumeError):
    """Distances between slices differ."""


class MixedOrientation(VolumeError):
    """Images of one series point different ways."""


class TiltedGantry(VolumeError):
    """Slices are sheared against their normal (CT gantry tilt)."""


class UnsupportedImage(VolumeError):
    """The pixels cannot be decoded or mean something this node does not read."""


class AlgorithmError(PipelineError):
    """An algorithm failed on inputs that were sound."""


class BundleInvalid(AlgorithmError):
    """A bundle's files are not what its configuration lists."""


class InputRefused(AlgorithmError):
    """The algorithm says this input is not one it may read, and why."""


class OutOfMemory(AlgorithmError):
    """The device or the host ran out of memory."""

    retryable = True


class TimedOut(AlgorithmError):
    """The run passed its time limit and its process was killed."""


class LoadingTimedOut(AlgorithmError):
    """The model was not loaded within the limit of loading; the run had not begun."""

    retryable = True


class ChildDied(AlgorithmError):
    """The process that ran the model ended without an answer."""

    retryable = True


class ContractBroken(AlgorithmError):
    """The algorithm returned what its description does not allow."""


class EncodeError(DicomNodeError):
    """Findings could not be written as DICOM."""


class GeometryMismatch(EncodeError):
    """The object just written does not lie where the network's mask lies; nothing is sent."""


class DeliveryError(DicomNodeError):
    """A result did not reach its destination."""

    status: int | None = None
    """The DIMSE status the peer answered with, if it answered."""


class PeerUnavailable(DeliveryError):
    """No association could be made with the destination."""

    retryable = True


class AssociationRejected(DeliveryError):
    """The destination answered, but rejected the association."""

    retryable = True


class InstanceRefused(DeliveryError):
    """The destination refused the object for good (failure status or presentation context)."""


class PeerBusy(DeliveryError):
    """The destination is out of resources (0xA7xx) or failed in passing (0x0110); try later."""

    retryable = True


class StoreError(DicomNodeError):
    """The database refused or lost a write."""


class StoreUnavailable(StoreError):
    """The database could not be reached or was locked too long."""

    retryable = True


class ValueRefused(StoreError):
    """The database has no way to keep a value, such as a null character."""


class FilesError(DicomNodeError):
    """Images could not be brought to a worker, or its results to the node."""


class FilesUnavailable(FilesError):
    """A file cannot be had, or is not what the index says."""

    retryable = True


class FilesUnreachable(FilesUnavailable):
    """Nobody answered, or the answer broke off; tried again at once for a while."""


class CacheTooSmall(FilesError):
    """A job's images are more than a worker may keep."""


class Interrupted(DicomNodeError):
    """The node stops while a job runs; the job goes on at the next start."""


class NotWanted(Interrupted):
    """A person has taken the job back while it waited."""


class TakenOver(Interrupted):
    """This process was silent for too long, so its work was given to another one."""


class ReportError(DicomNodeError):
    """A report could not be read."""

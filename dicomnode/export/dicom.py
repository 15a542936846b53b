"""`export dicom`: images of the archive as DICOM files without identity."""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicomnode.domain.catalogue import HeldInstance
from dicomnode.domain.identifiers import StudyUid
from dicomnode.export.deidentify import Profile, deidentify, profile_digest
from dicomnode.export.pictures import write_whole
from dicomnode.export.pseudonyms import Pseudonyms
from dicomnode.export.run import claim
from dicomnode.reports.atomic import AtomicText
from dicomnode.store.database import Database
from dicomnode.store.holdings import held

# Where machines and people write into pixels as a matter of course.
_PRONE = frozenset({"US", "SC", "OT", "XA", "RF", "ES", "XC", "GM", "DOC"})

CARD = """\
# Images without identity

{images} images of {studies} studies and {patients} patients, de-identified by {codes}
(DICOM PS3.15 Annex E, table of 2024b, SHA-256 {digest}).

- Patients, studies, series and images are named by keyed digests, the same in every export with
  this key. The key is not here; whoever has it can lead names back.
- {dates}
- Private attributes and overlays are removed. Structured reports are not exported.
- **Text burned into pixels was not looked for.** Images that say they have some were {burned_in}.
  {unsure} images do not say, or come from machines that write into pixels, or say so: `files.csv`
  marks them. Look at them before you hand them on.
- Faces can be rebuilt from CT and MR of heads. Nothing was done about that.

Research use only.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomOptions:
    """What is exported, and how."""

    profile: Profile = field(default_factory=Profile)
    with_burned_in: bool = False
    """Take images that say that text is burned into them."""

    def words(self) -> dict[str, object]:
        """What makes files what they are."""
        return {
            "kind": "dicom",
            "dates": self.profile.dates,
            "characteristics": self.profile.characteristics,
            "with_burned_in": self.with_burned_in,
        }


@dataclass(kw_only=True)
class Tally:
    """What an export made."""

    images: int = 0
    unsure: int = 0
    """Images that may have text burned in."""
    patients: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)


def export_dicom(
    database: Database,
    out: Path,
    studies: Iterable[StudyUid],
    *,
    options: DicomOptions,
    pseudonyms: Pseudonyms,
    progress: Callable[[], None] = lambda: None,
) -> Tally:
    """Write files, tables and card to `out`. May be repeated: equal files get equal names.

    Raises:
        ConfigError: the folder holds something else, or an export made with other options.
    """
    claim(out, options.words(), pseudonyms)
    tally = Tally()
    with ExitStack() as stack:
        files = _table(stack, out / "files.csv", ("file", "patient", "study", "sha256", "warning"))
        left_out = _table(stack, out / "left_out.csv", ("study", "image", "reason"))
        for study in studies:
            for one in held(database, study):
                name = pseudonyms.of("image", one.sop_instance_uid)
                try:
                    row = _export(one, out, options, pseudonyms, tally)
                except _LeftOut as exc:
                    tally.left_out[exc.reason] += 1
                    left_out([pseudonyms.of("study", study), name, exc.reason])
                    continue
                files(row)
            progress()
    write_whole(out / "README.md", _card(tally, options).encode())
    return tally


class _LeftOut(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _export(
    one: HeldInstance, out: Path, options: DicomOptions, pseudonyms: Pseudonyms, tally: Tally
) -> list[str]:
    ds = _readable(one.path)
    warning = _burned_in(ds, options)
    clean = deidentify(ds, options.profile, pseudonyms)
    patient, study = str(clean.PatientID), pseudonyms.of("study", one.study_uid)
    series = pseudonyms.of("series", one.series_uid)
    image = pseudonyms.of("image", one.sop_instance_uid)
    path = out / patient / study / series / f"{image}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    clean.save_as(part, enforce_file_format=True)
    part.replace(path)
    tally.images += 1
    tally.unsure += bool(warning)
    tally.patients.add(patient)
    tally.studies.add(study)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return [path.relative_to(out).as_posix(), patient, study, digest, warning]


def _readable(path: Path) -> Dataset:
    try:
        ds = dcmread(path)
    except FileNotFoundError:
        raise _LeftOut("its file is not on this node any more") from None
    except (InvalidDicomError, OSError, ValueError, EOFError):
        raise _LeftOut("its file cannot be read") from None
    if "PixelData" not in ds:
        raise _LeftOut("no image: texts cannot be cleaned")
    return ds


def _burned_in(ds: Dataset, options: DicomOptions) -> str:
    """What to warn of; empty: the image says that no text is burned in.

    Raises:
        _LeftOut: it says that there is some.
    """
    said = str(ds.get("BurnedInAnnotation", "")).upper()
    if said == "YES":
        if not options.with_burned_in:
            raise _LeftOut("text is burned into its pixels")
        return "text is burned in"
    if str(ds.get("Modality", "")) in _PRONE:
        return "such machines often write into pixels"
    return "" if said == "NO" else "does not say whether text is burned in"


def _table(stack: ExitStack, path: Path, names: Sequence[str]) -> Callable[[Sequence[str]], object]:
    writer = csv.writer(stack.enter_context(AtomicText(path)).file, lineterminator="\n")
    writer.writerow(names)
    return writer.writerow


def _card(tally: Tally, options: DicomOptions) -> str:
    codes = " + ".join(f"{meaning} (DCM {value})" for value, meaning in options.profile.codes)
    moved = (
        "Dates are moved, all of a patient by the same days, which only the key tells; times stay."
        if options.profile.dates
        else "Dates and times are removed or replaced by dummies."
    )
    return CARD.format(
        images=tally.images,
        studies=len(tally.studies),
        patients=len(tally.patients),
        codes=codes,
        digest=profile_digest(),
        dates=moved,
        burned_in="taken, as was asked for" if options.with_burned_in else "left out",
        unsure=tally.unsure,
    )

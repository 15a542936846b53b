"""Part of a folder of marked volumes as a folder of the same layout, of links and rows."""

import csv
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dicomnode.evaluate.lesion_truths import TABLES, volume_named_by
from dicomnode.evaluate.lesion_types import FILE, read_lesion_types
from dicomnode.training.marks import Marked, SiteMarks
from dicomnode.training.patients import write_patients

_AS_THEY_ARE = ("labels.json", "spacing.csv")


def link_volumes(
    volumes: Sequence[Marked], marks: SiteMarks, folder: Path, named: Mapping[str, str]
) -> None:
    """Make `folder`, ready for `dicomnode evaluate`; what an earlier call left there is replaced.

    Args:
        volumes: those of this part; none: no folder.
        marks: the whole folder.
        folder: of the part.
        named: type in the truth -> type of the bundle, beyond what the whole folder says.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not volumes:
        return
    names = {one.case.name for one in volumes}
    for one in volumes:
        _link(one.case.path, folder / "images")
        # A MetaImage names the file of its voxels, which lies beside it.
        if one.case.path.suffix == ".mhd":
            for path in one.case.path.parent.glob(f"{one.case.path.stem}.*raw"):
                _link(path, folder / "images")
    for name, path in marks.truths.masks.items():
        if name in names:
            _link(path, folder / "labels")
    for name in _AS_THEY_ARE:
        if (marks.folder / name).is_file():
            _link(marks.folder / name, folder)
    for name in TABLES:
        if (marks.folder / name).is_file():
            called = names | {one.series_uid for one in volumes}
            _copy_rows(marks.folder / name, folder / name, called)
    types = {**read_lesion_types(marks.folder), **named}
    (folder / FILE).write_text(json.dumps(types, indent=1) + "\n", encoding="utf-8")
    write_patients(folder, ((one.case.name, one.case.patient) for one in volumes))


def _link(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).symlink_to(path.resolve())


def _copy_rows(table: Path, target: Path, volumes: Collection[str]) -> None:
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        kept = [row for row in rows if volume_named_by(row) in volumes]
    with target.open("w", encoding="utf-8", newline="") as file:
        written = csv.DictWriter(file, rows.fieldnames or (), extrasaction="ignore")
        written.writeheader()
        written.writerows(kept)

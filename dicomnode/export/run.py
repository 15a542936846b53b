"""`export dataset` from index to folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicomnode.domain.errors import ConfigError
from dicomnode.export.dataset import DatasetOptions, Tally, export_images
from dicomnode.export.dataset_card import Counts, card
from dicomnode.export.dataset_files import DatasetTables
from dicomnode.export.pictures import write_whole
from dicomnode.export.pseudonyms import Pseudonyms
from dicomnode.store.database import Database
from dicomnode.store.export_cases import label_names, study_cases, versions_in_force

_OPTIONS = "export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export made."""

    images: int
    patients: int
    left_out: int


def export_dataset(
    database: Database,
    out: Path,
    *,
    options: DatasetOptions,
    pseudonyms: Pseudonyms,
    now: datetime,
    progress: Callable[[], None] = lambda: None,
) -> Exported:
    """Write pictures, tables and card to `out`; goes on where an earlier run was stopped.

    Tables and card appear when all is done. Memory does not grow with the archive.

    Raises:
        ConfigError: the folder holds something else, or an export made with other options.
    """
    claim(out, options_words(options), pseudonyms)
    labels = label_names(database)
    counts, tally = Counts(), Tally()
    with DatasetTables(out, labels) as tables:
        for line in export_images(
            study_cases(database, options.modalities),
            out,
            options=options,
            pseudonyms=pseudonyms,
            tally=tally,
            progress=progress,
        ):
            tables.write(line)
            counts.add(line)
    text = card(
        counts,
        tally,
        labels=labels,
        versions=versions_in_force(database),
        options=options,
        made_at=now,
    )
    write_whole(out / "README.md", text.encode())
    return Exported(
        images=counts.images.total(),
        patients=counts.patients.total(),
        left_out=sum(counts.left_out.values()),
    )


def options_words(options: DatasetOptions) -> dict[str, object]:
    """What makes pictures what they are."""
    return {"kind": "dataset", "size": options.size, "fit": options.fit.value}


def claim(out: Path, made_with: dict[str, object], pseudonyms: Pseudonyms) -> None:
    """Take a folder for an export, or know it again.

    Raises:
        ConfigError: it holds something else, or an export of other options or another key.
    """
    stated = {**made_with, "key": pseudonyms.of("key", "check")}
    marker = out / _OPTIONS
    if marker.exists():
        known = json.loads(marker.read_text(encoding="utf-8"))
        if known != stated:
            raise ConfigError(
                [f"{out} holds an export made with other options or another key: {known}"]
            )
        return
    if out.exists() and any(out.iterdir()):
        raise ConfigError([f"{out} is not empty and holds no earlier export"])
    out.mkdir(parents=True, exist_ok=True)
    write_whole(marker, json.dumps(stated).encode())

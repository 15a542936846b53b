"""An index with real files: images that were received, reports that were read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.assembly.headers import read_header
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.incoming_reports import IncomingReport, ReportSource
from dicomnode.domain.instances import Association, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome, association_folder
from dicomnode.domain.reports import ReportPart
from dicomnode.reports import Miner, MinerSetup, open_miner
from dicomnode.steps.reporting import read_reports, register_version
from dicomnode.store.database import Database
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.store.readings import record_readings, unmined_reports
from dicomnode.store.report_matching import match_new_reports
from dicomnode.store.reports import keep_reports

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Archive:
    """Fills an index, one delivery after the other."""

    database: Database
    miner: Miner = field(
        default_factory=lambda: open_miner(MinerSetup(policy="strict", graph=False))
    )
    deliveries: int = 0

    def take(self, datasets: Sequence[Dataset]) -> list[Path]:
        """Have instances received and indexed; their files in the data folder."""
        self.deliveries += 1
        association = Association(
            id=f"a{self.deliveries}",
            calling_ae="CR1",
            called_ae="DICOMNODE",
            address="127.0.0.1",
            opened_at=NOON,
        )
        folder = association_folder(self.database.path_root, association)
        folder.mkdir(parents=True)
        index = SqlInstanceIndex(self.database, receiver="DICOMNODE@test")
        index.open_association(association)
        batch = [
            _received(ds, folder / f"{number}.dcm", association.id)
            for number, ds in enumerate(datasets)
        ]
        index.keep(batch)
        index.close_association(association.id, AssociationOutcome.RELEASED, at=NOON)
        landed = landed_instances(self.database, 10_000)
        headers = [Indexed(landed=one, header=read_header(one.path)) for one in landed]
        index_instances(self.database, headers, [], NOON)
        return [instance.path for instance in batch]

    def report(self, study_uid: str, words: str, *, source_id: str = "") -> None:
        """A report of the study, matched and read."""
        report = IncomingReport(
            source=ReportSource.HL7,
            source_id=source_id or study_uid,
            parts=(ReportPart(name="findings", text=words),),
            study_uid=study_uid,
        )
        keep_reports(self.database, [report], NOON)
        match_new_reports(self.database, 100, NOON)
        version = register_version(self.database, self.miner, NOON)
        readings = read_reports(self.miner, unmined_reports(self.database, 100))
        record_readings(self.database, version, readings, in_force=True)


def _received(ds: Dataset, path: Path, association_id: str) -> ReceivedInstance:
    ds.save_as(path, enforce_file_format=True)
    uid = str(ds.SOPInstanceUID)
    return ReceivedInstance(
        sop_instance_uid=InstanceUid(uid),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        path=path,
        size_bytes=path.stat().st_size,
        sha256=uid.replace(".", "")[:64].rjust(64, "0"),
        association_id=association_id,
        received_at=NOON,
    )

"""A PACS, a node whose results go there, and OHIF over what the PACS holds."""

import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.identifiers import InstanceUid
from dicomnode.phantom import Case
from dicomnode.phantom.series import write_case
from dicomnode.testing.orthanc import RunningOrthanc, orthanc_program
from dicomnode.testing.studies import StudyIdentity
from dicomnode.viewer.configuration import app_config
from dicomnode.viewer.site import Content, ViewerSite
from dicomnode.viewer.upstream import Upstream
from tests.acceptance.ohif_pages import OhifPage, chromium_on
from tests.acceptance.running_node import AE_TITLE, DESTINATION, NodeUnderTest
from tests.acceptance.test_viewer import DICOMWEB_PLUGIN

STORESCU = Path("/usr/bin/storescu")
NEEDS_PROGRAMS = pytest.mark.skipif(
    not (orthanc_program() and DICOMWEB_PLUGIN.exists() and STORESCU.exists()),
    reason="Orthanc, its DICOMweb plug-in or DCMTK is not installed",
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A PACS and a node whose results go there."""

    pacs: RunningOrthanc
    node: NodeUnderTest

    def send(self, case: Case, identity: StudyIdentity, folder: Path) -> tuple[InstanceUid, ...]:
        """By storescu to the archive and to the node; returns the images from feet to head."""
        paths = write_case(case, folder, identity)
        for name, port in ((self.pacs.ae_title, self.pacs.dicom_port), (AE_TITLE, self.node.port)):
            subprocess.run(
                [STORESCU, "-aec", name, "127.0.0.1", str(port), *paths], check=True, timeout=120
            )
        return tuple(InstanceUid(str(dcmread(path).SOPInstanceUID)) for path in paths)

    def are_confirmed(self, study: str, algorithms: set[str]) -> bool:
        """True once every result of all these algorithms is."""
        told = self.node.story(study)
        jobs = {job.algorithm: job for job in told.jobs} if told else {}
        return set(jobs) == algorithms and all(
            job.deliveries and {each.state for each in job.deliveries} <= {"confirmed"}
            for job in jobs.values()
        )

    def results(self, study: str) -> list[Dataset]:
        """The SEGs and SRs that the PACS holds of a study."""
        found = []
        for known in cast("list[dict[str, Any]]", self.pacs.get("/series?expand")):
            if known["MainDicomTags"]["Modality"] in {"SEG", "SR"}:
                with urlopen(f"{self.pacs.url}/instances/{known['Instances'][0]}/file") as answer:
                    found.append(dcmread(io.BytesIO(answer.read())))
        return [one for one in found if one.StudyInstanceUID == study]


@contextmanager
def running_site(folder: Path, rules: str) -> Iterator[Site]:
    """Both, with a node that goes by `rules`."""
    pacs = RunningOrthanc(folder / "orthanc", extra={"Plugins": [str(DICOMWEB_PLUGIN)]})
    node = NodeUnderTest(folder=folder / "node")
    goal = DESTINATION.format(
        name="archive", ae_title=pacs.ae_title, port=pacs.dicom_port, confirm="read-back"
    )
    node.prepare([goal])
    (node.folder / "rules.toml").write_text(rules, encoding="utf-8")
    with pacs, node:
        yield Site(pacs=pacs, node=node)


@contextmanager
def viewer_on(site: Site, chromium: str, ohif: Path) -> Iterator[OhifPage]:
    """OHIF over the PACS, in a browser."""
    content = Content(
        files=ohif,
        app_config=app_config(name="Orthanc", notice=False),
        pacs=Upstream.at(f"{site.pacs.url}/dicom-web"),
    )
    with ViewerSite(content) as viewer, chromium_on(viewer.url, chromium) as opened:
        yield opened

"""What links and buttons are called by who hears them one after the other, without their rows."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from dicomnode.domain.access import Role
from dicomnode.store.tables import AssociationRow, JobRow, QuarantineRow, StudyRow
from tests.acceptance.web_showcase import furnish
from tests.unit.web_site import Site

PAGES = ("/studies", "/trouble", "/results", "/reports", "/queue", "/users", "/overview")


class Names(HTMLParser):
    """Accessible name -> where the links and buttons of that name lead."""

    def __init__(self) -> None:
        super().__init__()
        self.leads: dict[str, set[str]] = defaultdict(set)
        self._form = self._target = self._label = ""
        self._words: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A form, a link, a button, or a picture within a link."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = given.get("action", "")
        if tag in ("a", "button"):
            self._target = given.get("href") or given.get("formaction") or self._form
            self._label, self._words = given.get("aria-label", ""), []
        if tag == "img" and self._words is not None:
            self._words.append(given.get("alt", ""))

    def handle_data(self, data: str) -> None:
        """Visible words."""
        if self._words is not None:
            self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        """A name is complete; a label has to begin with what is seen (WCAG 2.5.3)."""
        if tag in ("a", "button") and self._words is not None:
            seen = " ".join("".join(self._words).split())
            self.leads[self._label or seen].add(self._target)
            self._words = None


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, now=datetime.now(UTC))
    furnish(made.database, made.now)
    with made.database.writing() as connection:
        jobs = connection.scalars(select(JobRow.id).limit(3)).all()
        failed = {"state": "failed", "error": "X", "reason": "no weights"}
        connection.execute(update(JobRow).where(JobRow.id.in_(jobs)).values(failed))
        studies = connection.scalars(select(StudyRow.study_uid).order_by(StudyRow.study_uid)).all()
        of_first = connection.scalars(select(JobRow.study_uid).where(JobRow.id == jobs[0])).one()
        for number, study in enumerate(studies):
            # One of those that failed has no accession number.
            accession = "" if study == of_first else f"ACC-{number}"
            named = update(StudyRow).where(StudyRow.study_uid == study)
            connection.execute(named.values(accession_number=accession))
        association = connection.scalars(select(AssociationRow.id).limit(1)).one()
        for number in (1, 2):
            kept = {
                "kind": "damaged",
                "reason": "no SOPInstanceUID",
                "sop_instance_uid": f"1.2.{number}",
                "sop_class_uid": "",
                "transfer_syntax_uid": "",
                "path": f"quarantine/{number}.dcm",
                "size_bytes": 1,
                "sha256": str(number),
                "association_id": association,
                "at": made.now,
            }
            connection.execute(insert(QuarantineRow).values(kept))
    yield made
    made.database.dispose()


def test_what_leads_elsewhere_is_called_otherwise(site: Site) -> None:
    admin = site.logged_in(Role.ADMIN)
    for address in PAGES:
        names = Names()
        names.feed(admin.get(address).text)
        assert "" not in names.leads, address
        alike = {name: leads for name, leads in names.leads.items() if len(leads) > 1}
        assert not alike, address


def test_trouble_names_studies_by_their_accession_number(site: Site) -> None:
    names = Names()
    page = site.logged_in(Role.ADMIN).get("/trouble").text
    names.feed(page)
    with site.database.reading() as connection:
        failed = select(StudyRow.accession_number, StudyRow.study_uid).join(
            JobRow, JobRow.study_uid == StudyRow.study_uid
        )
        rows = connection.execute(failed.where(JobRow.state == "failed")).all()
    assert {bool(row.accession_number) for row in rows} == {False, True}
    for row in rows:
        told = f"accession {row.accession_number}" if row.accession_number else row.study_uid
        assert any(told in name for name in names.leads), told
        assert f"accession {row.accession_number}" in page

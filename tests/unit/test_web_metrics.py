"""Monitoring reads the node's numbers; alerts and dashboard speak of numbers that exist."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from dicomnode.domain.access import Role
from dicomnode.domain.audit import Deed
from dicomnode.settings import AuditSettings, ReceiveSettings
from dicomnode.store.audit import newest_entry, record_deed
from tests.contract.store_scenes import SERIES, finished_job, land, uids
from tests.unit.web_site import Site

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.database.dispose()


def scraped(site: Site) -> dict[str, dict[tuple[str, ...], float]]:
    """Metric -> label values -> number."""
    answer = site.program(Role.VIEWER).get("/metrics")
    assert answer.status_code == 200
    return {
        family.name: {tuple(one.labels.values()): one.value for one in family.samples}
        for family in text_string_to_metric_families(answer.text)
    }


def test_what_waits_is_scraped_with_its_age(site: Site) -> None:
    finished_job(site.database)
    land(site.database, uids(SERIES, [7]), association="late", moment=site.now)
    site.now += timedelta(seconds=90)
    numbers = scraped(site)
    assert numbers["dicomnode_stage_items"]["landed",] == 1
    assert numbers["dicomnode_stage_oldest_seconds"]["landed",] == 90
    assert numbers["dicomnode_results_undelivered"]["pacs", "waiting"] == 2
    assert numbers["dicomnode_disk_free_bytes"][()] > 0


def test_alerts_and_dashboard_name_metrics_that_are_scraped(site: Site) -> None:
    finished_job(site.database)
    known = set(scraped(site))
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in panels for target in panel["targets"]]
    named = set(re.findall(r"dicomnode_\w+", " ".join(asked)))
    assert named
    assert named <= known
    assert all(rule["annotations"]["action"] for rule in rules)


def test_every_metric_is_documented(site: Site) -> None:
    finished_job(site.database)
    words = (DEPLOY.parent / "docs" / "operations.md").read_text()
    assert [name for name in scraped(site) if f"`{name}" not in words] == []


def test_what_a_collector_of_the_audit_trail_was_not_sent_is_scraped(site: Site) -> None:
    assert "dicomnode_audit_unsent" not in scraped(site)
    site.settings = site.settings.model_copy(update={"audit": AuditSettings(syslog_host="siem")})
    site.app = site.restarted()
    (site.folder / "audit-syslog.json").write_text('{"last": 0, "failures": 3}')
    for _ in range(2):
        record_deed(site.database, Deed(who="anna", address="", what="login"), site.now)
    assert (waiting := newest_entry(site.database)) >= 2
    numbers = scraped(site)
    assert numbers["dicomnode_audit_failures"][()] == 3
    assert numbers["dicomnode_audit_unsent"][()] == waiting
    words = (DEPLOY.parent / "docs" / "operations.md").read_text()
    assert "`dicomnode_audit_unsent`, `dicomnode_audit_failures`" in words


def test_a_node_that_does_not_get_on_is_not_ready(site: Site) -> None:
    browser = site.browser()
    assert browser.get("/health/ready").json() == {"status": "ready", "faults": []}
    land(site.database, uids(SERIES, [1]), moment=site.now)
    assert browser.get("/health/ready").status_code == 200
    site.now += timedelta(seconds=121)
    answer = browser.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["faults"] == ["index: 1 images wait to be indexed; is the node running?"]


def test_a_full_disk_is_not_ready(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.settings = site.settings.model_copy(
        update={"receive": ReceiveSettings(reserve_mb=1 << 40)}
    )
    site.app = site.restarted()
    answer = site.browser().get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["faults"][0].startswith("disk: ")
    site.database.dispose()

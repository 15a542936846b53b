"""The node's numbers for Prometheus, in its text format. A token of role viewer may read them."""

import shutil
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from dicomnode import __version__
from dicomnode.steps.auditing import audit_sent
from dicomnode.store.audit import newest_entry
from dicomnode.store.gauges import Standing, standing
from dicomnode.web.context import Web, WebContext
from dicomnode.web.visitors import Viewer

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics(web: WebContext, _visitor: Viewer) -> Response:
    """Read anew at every scrape; `docs/operations.md` lists them."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(web))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class NodeCollector(Collector):
    """Turns what the index and the disk say into metrics."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """Every metric of the node."""
        yield InfoMetricFamily("dicomnode", "The node", {"version": __version__})
        yield from _stages(seen := standing(self._web.database, self._web.clock()))
        yield from _troubles(seen)
        yield _by_label(
            "dicomnode_received_last_hour",
            "What came in the last sixty minutes",
            "what",
            {"studies": seen.studies_last_hour, "instances": seen.instances_last_hour},
        )
        settings = self._web.settings
        free = shutil.disk_usage(settings.data_dir).free
        reserve = settings.receive.reserve_mb << 20
        yield _one("dicomnode_disk_free_bytes", "Free where the data folder lies", free)
        yield _one("dicomnode_disk_reserve_bytes", "Below this images are refused", reserve)
        if settings.audit.syslog_host and (sent := audit_sent(settings)) is not None:
            unsent = newest_entry(self._web.database) - sent.last
            yield _one("dicomnode_audit_unsent", "Entries the collector was not sent", unsent)
            yield _one("dicomnode_audit_failures", "Tries to send that failed", sent.failures)


def _stages(seen: Standing) -> Iterator[GaugeMetricFamily]:
    yield _by_label(
        "dicomnode_stage_items",
        "Items that stand in a stage",
        "stage",
        {each.stage.value: each.count for each in seen.waiting},
    )
    yield _by_label(
        "dicomnode_stage_oldest_seconds",
        "Age of the oldest item in a stage; 0 if there is none",
        "stage",
        {each.stage.value: each.oldest_s for each in seen.waiting},
    )


def _troubles(seen: Standing) -> Iterator[GaugeMetricFamily]:
    yield _by_label(
        "dicomnode_jobs",
        "Jobs that need a person",
        "state",
        {"failed": seen.ended_badly, "refused": seen.refused},
    )
    undelivered = GaugeMetricFamily(
        "dicomnode_results_undelivered",
        "Results that a destination has not proven to keep",
        labels=("destination", "state"),
    )
    for (destination, state), count in sorted(seen.undelivered.items()):
        undelivered.add_metric((destination, state), count)
    yield undelivered
    yield _one("dicomnode_quarantined_files", "Files no person has looked at yet", seen.quarantined)
    words = "1: the rule file cannot be used, the last good rules hold on"
    yield _one("dicomnode_rules_refused", words, seen.rules_refused)


def _one(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=value)


def _by_label(name: str, words: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family

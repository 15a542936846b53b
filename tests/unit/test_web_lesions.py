"""Lesions on the pages: by type, size and growth, page by page, and one patient's over time."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.store.lesions_told import LesionOrder, LesionSearch, lesions_told
from dicomnode.web.pages import lesions as page_module
from tests.contract.test_store_lesions import LIVER, lesion, studied
from tests.unit.web_scenes import ESCAPED, HOSTILE
from tests.unit.web_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.database.dispose()


@pytest.fixture
def viewer(site: Site) -> TestClient:
    """Two studies of a patient: a node that grew, a mass that is new."""
    first = studied(site.database, 1, "20240131", [lesion("2.25.1", 20, 16)])
    studied(
        site.database,
        2,
        "20240430",
        [
            lesion("2.25.1", 30, 24, since=(first.id, 90, 50.0)),
            lesion("2.25.2", 45, 30, kind=LIVER, site=None),
        ],
    )
    return site.logged_in(Role.VIEWER)


def names(page: str) -> list[str]:
    return re.findall(r'<td class="wrap">(Node [0-9.]+)<br>', page)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("", ["Node 2.25.2", "Node 2.25.1", "Node 2.25.1"]),
        ("?kind=lymph", ["Node 2.25.1", "Node 2.25.1"]),
        ("?least_mm=25", ["Node 2.25.2", "Node 2.25.1"]),
        ("?least_mm=25,5&kind=LYMPH", ["Node 2.25.1"]),
        ("?least_percent=20", ["Node 2.25.1"]),
        ("?least_percent=60", []),
        ("?order=largest", ["Node 2.25.2", "Node 2.25.1", "Node 2.25.1"]),
        ("?order=grown+most", ["Node 2.25.1"]),
        ("?algorithm=another", []),
        ("?least_mm=x&order=y&behind=z", ["Node 2.25.2", "Node 2.25.1", "Node 2.25.1"]),
    ],
)
def test_the_list_is_narrowed_and_ordered(viewer: TestClient, asked: str, shown: list[str]) -> None:
    answer = viewer.get(f"/lesions{asked}")
    assert answer.status_code == 200
    assert names(answer.text) == shown


@pytest.mark.parametrize("order", LesionOrder)
def test_pages_follow_by_key_without_a_gap(
    site: Site, viewer: TestClient, monkeypatch: pytest.MonkeyPatch, order: LesionOrder
) -> None:
    everything = lesions_told(site.database, LesionSearch(order=order), limit=100)
    monkeypatch.setattr(page_module, "SHOWN", 1)
    address, seen = f"/lesions?order={order.value.replace(' ', '+')}", []
    while address:
        page = viewer.get(address).text
        seen += names(page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        address = following.group(1).replace("&amp;", "&") if following else ""
    assert seen == [one.name for one in everything]
    assert len(seen) == (1 if order is LesionOrder.GROWN else 3)


def test_a_patients_lesions_are_drawn_over_time_with_their_sums(viewer: TestClient) -> None:
    page = viewer.get("/lesions/over-time/1.2.1").text
    assert "<svg" in page
    assert "2024-01-31" in page
    assert "+50 %" in page
    # One target: the node, by its short axis.
    assert "1 of 1" in page
    assert "24.0" in page


def test_an_unknown_study_is_not_found(viewer: TestClient) -> None:
    assert viewer.get("/lesions/over-time/9.9.9").status_code == 404


def test_a_new_node_has_an_empty_list(site: Site) -> None:
    assert "No lesion." in site.logged_in(Role.VIEWER).get("/lesions").text


def test_what_was_typed_is_shown_and_never_run(viewer: TestClient) -> None:
    page = viewer.get("/lesions", params={"kind": HOSTILE}).text
    assert ESCAPED in page
    assert HOSTILE not in page

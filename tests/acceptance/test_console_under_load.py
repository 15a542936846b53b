"""A node goes on receiving while its SQL console is asked what never ends."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from dicomnode.domain.access import Role
from dicomnode.store.accounts import add_account
from dicomnode.store.sessions import add_token
from dicomnode.web.answering import MOST_AT_ONCE
from dicomnode.web.passwords import new_token, token_hash
from tests.acceptance.running_node import NodeUnderTest, eventually
from tests.acceptance.studies_on_disk import ct_study, send
from tests.contract.store_scenes import NOON
from tests.unit.web_site import PASSWORD, QUICK

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]

LIMIT_S = 20
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeUnderTest]:
    made = NodeUnderTest(folder=tmp_path / "node", web=True)
    made.prepare([f"\n[sql]\ntime_limit_s = {LIMIT_S}\n"])
    with made:
        yield made


@pytest.fixture
def reader(node: NodeUnderTest) -> Iterator[httpx.Client]:
    database = node.database
    hashed = QUICK.hash(PASSWORD)
    add_account(database, name="reader", role=Role.READER, password_hash=hashed, now=NOON)
    token = new_token("dn_")
    add_token(database, "reader", token_hash(token), "test", NOON, lasts=None)
    database.dispose()
    headers = {"Authorization": f"Bearer {token}"}
    address = eventually(lambda: address_of(node), what="the web process answers")
    with httpx.Client(base_url=address, headers=headers, timeout=120) as client:
        yield client


def address_of(node: NodeUnderTest) -> str | None:
    """What the log says."""
    for line in node.log.splitlines():
        if '"web.started"' in line:
            return str(json.loads(line)["address"])
    return None


def answer_to_endless(reader: httpx.Client) -> httpx.Response:
    """Asked again while the short question below, which looks for a place, has the last one."""
    while True:
        answer = reader.post("/sql", data={"query": ENDLESS})
        if "answered already" not in answer.text:
            return answer


def test_endless_questions_hold_up_no_image(
    node: NodeUnderTest, reader: httpx.Client, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(MOST_AT_ONCE) as asking:
        endless = [asking.submit(answer_to_endless, reader) for _ in range(MOST_AT_ONCE)]
        eventually(
            lambda: "answered already" in reader.post("/sql", data={"query": "SELECT 1"}).text,
            what="all places for questions are taken",
        )
        identity, paths = ct_study("meanwhile", tmp_path)
        send(node, paths)
        assert not any(question.done() for question in endless)
        assert reader.get("/studies").status_code == 200
        job = node.job_of(identity.study_uid, "succeeded", timeout_s=300.0)
        assert job.findings
        answers = [question.result() for question in endless]
    assert [answer.status_code for answer in answers] == [422] * MOST_AT_ONCE
    assert all("took too long" in answer.text for answer in answers)
    assert reader.post("/sql", data={"query": "SELECT 1"}).status_code == 200

"""An index with many studies that a model scored and that have mined reports, made in no time."""

import math
from collections.abc import Sequence

import numpy as np
from sqlalchemy import insert

from dicomnode.store.comparisons import compare_all
from dicomnode.store.database import Database
from dicomnode.store.tables import (
    FindingRow,
    JobRow,
    LabelNameRow,
    MiningVersionRow,
    ReportLabelRow,
    ReportRow,
    RevisionRow,
    RuleSetRow,
    StudyRow,
)
from tests.contract.store_scenes import NOON, RULES

ALGORITHM = "cxr_thorax"


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def scored_studies(
    database: Database,
    *,
    name: str,
    label: str,
    probabilities: Sequence[float],
    values: Sequence[int | None],
    model_digest: str,
    first: int = 0,
) -> None:
    """One study and report each, two studies a patient; None: the report does not mention it."""
    numbers = range(first, first + len(probabilities))
    uids = [f"1.2.{number + 1}" for number in numbers]
    report_ids = [number + 1 for number in numbers]
    with database.writing() as connection:
        if first == 0:
            connection.execute(insert(RuleSetRow).values(digest=RULES, text="", first_used_at=NOON))
            connection.execute(
                insert(MiningVersionRow).values(
                    id=1, miner="1", lexicon="1", policy="strict", first_used_at=NOON
                )
            )
            connection.execute(insert(LabelNameRow).values(version_id=1, name=label, position=0))
        connection.execute(
            insert(StudyRow),
            [
                {"study_uid": uid, "patient_id": f"P{n // 2}", "header": {}, "received_at": NOON}
                for uid, n in zip(uids, numbers, strict=True)
            ],
        )
        connection.execute(
            insert(RevisionRow),
            [
                {
                    "id": n + 1,
                    "study_uid": uid,
                    "number": 1,
                    "reason": "quiet",
                    "evidence": {},
                    "calling_aes": [],
                    "closed_at": NOON,
                    "instance_count": 1,
                }
                for uid, n in zip(uids, numbers, strict=True)
            ],
        )
        connection.execute(
            insert(JobRow),
            [
                {
                    "id": f"j{n}",
                    "revision_id": n + 1,
                    "study_uid": uid,
                    "rule_name": "r",
                    "rule_set_digest": RULES,
                    "algorithm": ALGORITHM,
                    "model_digest": model_digest,
                    "inputs": {},
                    "input_digest": f"{n:064x}",
                    "priority": 30,
                    "destinations": [],
                    "state": "succeeded",
                    "created_at": NOON,
                    "finished_at": NOON,
                }
                for uid, n in zip(uids, numbers, strict=True)
            ],
        )
        connection.execute(
            insert(FindingRow),
            [
                {
                    "job_id": f"j{n}",
                    "number": 1,
                    "kind": "class",
                    "name": name,
                    "score": likely,
                    "text": "positive" if likely > 0.5 else "negative",
                }
                for n, likely in zip(numbers, probabilities, strict=True)
            ],
        )
        connection.execute(
            insert(ReportRow),
            [
                {
                    "id": report,
                    "source": "bulk",
                    "source_id": uid,
                    "number": 1,
                    "content_sha256": "0" * 64,
                    "status": "final",
                    "is_current": True,
                    "received_at": NOON,
                    "study_uid": uid,
                    "version_id": 1,
                }
                for uid, report in zip(uids, report_ids, strict=True)
            ],
        )
        said = [
            {"version_id": 1, "report_id": report, "name": label, "value": value, "said": "p"}
            for report, value in zip(report_ids, values, strict=True)
            if value is not None
        ]
        connection.execute(insert(ReportLabelRow), said)
        compare_all(connection)


def wrong_probabilities(
    count: int, *, slope: float, shift: float, seed: int = 0
) -> tuple[list[float], list[int | None]]:
    """Stated probabilities, and labels drawn with sigmoid(slope x logit + shift)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 1.5, count)
    true = 1 / (1 + np.exp(-(slope * logits + shift)))
    labels = (rng.random(count) < true).astype(int)
    # Reports that deny and reports that say nothing of it count alike.
    values = [1 if one else (0 if n % 2 else None) for n, one in enumerate(labels)]
    return (1 / (1 + np.exp(-logits))).tolist(), values

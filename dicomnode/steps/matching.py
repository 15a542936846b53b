"""From a closed revision to jobs."""

import hashlib

from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import job_id
from dicomnode.domain.matching import Match
from dicomnode.rules.matching import match
from dicomnode.steps.node import Node
from dicomnode.store.closing import held_instances, snapshot
from dicomnode.store.jobs import record_match, save_rule_set
from dicomnode.store.unfinished import UnfinishedJob, unfinished_jobs


def match_revision(node: Node, revision_id: int) -> tuple[UnfinishedJob, ...]:
    """Try the rules on a revision and store the jobs they call for. May be repeated."""
    closed = snapshot(node.database, revision_id)
    rules = node.rules.refresh()
    now = node.clock()
    save_rule_set(node.database, rules.digest, rules.text, now)
    needs = {name: known.needs for name, known in node.algorithms.items()}
    verdicts = match(rules, closed, needs=needs)
    jobs: dict[JobId, tuple[Match, str]] = {}
    for found in (one for verdict in verdicts for one in verdict.matches):
        digest = _input_digest(node, revision_id, found)
        jobs[job_id(closed.study_uid, found, digest)] = (_with_destinations(node, found), digest)
    record_match(
        node.database,
        revision_id,
        closed,
        rule_set_digest=rules.digest,
        verdicts=verdicts,
        jobs=jobs,
        now=now,
    )
    return unfinished_jobs(node.database, revision_id=revision_id)


def _input_digest(node: Node, revision_id: int, found: Match) -> str:
    digest = hashlib.sha256()
    for name, series in sorted(found.inputs.items()):
        digest.update(name.encode())
        for held in held_instances(node.database, revision_id, series):
            digest.update(bytes.fromhex(held.sha256))
    return digest.hexdigest()


def _with_destinations(node: Node, found: Match) -> Match:
    """A rule that names no destination means all that are configured."""
    if found.destinations:
        return found
    every = tuple(destination.name for destination in node.settings.destinations)
    return Match(
        rule_name=found.rule_name,
        ruleset_digest=found.ruleset_digest,
        algorithm=found.algorithm,
        priority=found.priority,
        destinations=every,
        inputs=found.inputs,
    )

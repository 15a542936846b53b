# SPDX-FileCopyrightText: The dicomnode authors
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orthanc Python plug-in: forwards each stable study to dicomnode, and again if it was not taken.

Orthanc's own C-STORE job does the sending; nothing here blocks Orthanc, whose callbacks only put
a note in a queue. Series that dicomnode made itself are left out, and so are series whose images
were all forwarded before. Studies still owed survive a restart of Orthanc.

Settings, in Orthanc's configuration (the modality has to be in `DicomModalities`):

    "DicomNode": {"Modality": "dicomnode", "FirstRetrySeconds": 5, "LongestRetrySeconds": 900}
"""

import heapq
import json
import threading
import time
from collections import deque
from enum import Enum

import orthanc

# Orthanc leaves numbers from 1024 on to its users.
_OWED_STUDIES_PROPERTY = 4417
_FORWARDED_COUNT_METADATA = 4417
_RESULT_MODALITIES = {"SEG", "SR", "KO", "PR", "SC", "OT"}
_UNKNOWN_RESOURCE = 17


class Note(Enum):
    """What a callback saw."""

    STUDY = "a study is to be forwarded"
    SENT = "a job ended well"
    FAILED = "a job failed"


class Forwarder:
    """One thread that turns notes into Orthanc jobs and keeps count of what is still owed."""

    def __init__(self, modality, first_retry_s, longest_retry_s):
        self._modality = modality
        self._first_retry_s = first_retry_s
        self._longest_retry_s = longest_retry_s
        self._notes = deque()
        self._noted = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dicomnode-forward")
        self._retries = []  # heap of (when, study)
        self._running = {}  # job -> (study, {series: number of instances})
        self._again = set()  # studies that changed while their job ran
        self._failures = {}  # study still owed -> failed tries

    def start(self):
        """Take up what was owed when Orthanc stopped, and begin."""
        owed = json.loads(orthanc.GetGlobalProperty(_OWED_STUDIES_PROPERTY, "[]"))
        self._notes.extend((Note.STUDY, study) for study in owed)
        self._thread.start()

    def note(self, note, resource):
        """Called by Orthanc's threads; returns at once."""
        with self._noted:
            self._notes.append((note, resource))
            self._noted.notify()

    def stop(self):
        """End the thread; what is owed is already saved."""
        with self._noted:
            self._stopping = True
            self._noted.notify()
        self._thread.join()

    def _run(self):
        while True:
            event = self._next_event()
            if event is None:
                return
            note, resource = event
            try:
                if note is Note.STUDY:
                    self._forward(resource)
                elif resource in self._running:
                    self._job_ended(resource, sent=note is Note.SENT)
            except Exception as exc:  # noqa: BLE001 - one study must not end the forwarding of all
                orthanc.LogError(f"dicomnode: {note.value}, but {type(exc).__name__}: {exc}")
                if note is Note.STUDY:
                    self._retry_later(resource)

    def _next_event(self):
        """The next note or retry that is due; None when stopping."""
        with self._noted:
            while not self._stopping:
                if self._notes:
                    return self._notes.popleft()
                wait_s = None
                if self._retries:
                    wait_s = self._retries[0][0] - time.monotonic()
                    if wait_s <= 0:
                        return Note.STUDY, heapq.heappop(self._retries)[1]
                self._noted.wait(wait_s)
        return None

    def _forward(self, study):
        if any(study == running for running, _ in self._running.values()):
            self._again.add(study)
            return
        counts = _to_forward(study)
        if not counts:
            self._settle(study)
            return
        self._failures.setdefault(study, 0)
        self._save()
        order = {"Resources": list(counts), "Asynchronous": True, "Permissive": False}
        answer = orthanc.RestApiPost(f"/modalities/{self._modality}/store", json.dumps(order))
        self._running[json.loads(answer)["ID"]] = (study, counts)
        orthanc.LogInfo(f"dicomnode: forwarding {len(counts)} series of study {study}")

    def _job_ended(self, job, sent):
        study, counts = self._running.pop(job)
        if sent:
            for series, count in counts.items():
                _mark_forwarded(series, count)
            self._settle(study)
        else:
            self._retry_later(study)
        if study in self._again:
            self._again.discard(study)
            self.note(Note.STUDY, study)

    def _retry_later(self, study):
        failures = self._failures.get(study, 0) + 1
        self._failures[study] = failures
        self._save()
        wait_s = min(self._first_retry_s * 2 ** min(failures - 1, 32), self._longest_retry_s)
        if study not in {owed for _, owed in self._retries}:
            heapq.heappush(self._retries, (time.monotonic() + wait_s, study))
        orthanc.LogWarning(
            f"dicomnode: study {study} was not taken (try {failures}); next try in {wait_s:g} s"
        )

    def _settle(self, study):
        if self._failures.pop(study, None) is not None:
            self._save()

    def _save(self):
        orthanc.SetGlobalProperty(_OWED_STUDIES_PROPERTY, json.dumps(sorted(self._failures)))


def _to_forward(study):
    """Series (Orthanc's identifier) to number of instances, for those the node has yet to get."""
    try:
        listed = json.loads(orthanc.RestApiGet(f"/studies/{study}/series?expand"))
    except orthanc.OrthancException as exc:
        if exc.args[0] == _UNKNOWN_RESOURCE:  # deleted in the meantime
            return {}
        raise
    return {
        series["ID"]: len(series["Instances"])
        for series in listed
        if len(series["Instances"]) != _forwarded_count(series["ID"])
        and not _made_by_dicomnode(series)
    }


def _made_by_dicomnode(series):
    if series["MainDicomTags"].get("Modality", "") not in _RESULT_MODALITIES:
        return False
    first = series["Instances"][0]
    tags = json.loads(orthanc.RestApiGet(f"/instances/{first}/simplified-tags"))
    makers = [tags.get("Manufacturer"), *tags.get("SoftwareVersions", "").split("\\")]
    for equipment in tags.get("ContributingEquipmentSequence") or []:
        makers.append(equipment.get("Manufacturer"))
    return any(maker == "dicomnode" or (maker or "").startswith("dicomnode ") for maker in makers)


def _forwarded_count(series):
    try:
        kept = orthanc.RestApiGet(f"/series/{series}/metadata/{_FORWARDED_COUNT_METADATA}")
    except orthanc.OrthancException:
        return None
    return int(kept)


def _mark_forwarded(series, count):
    try:
        orthanc.RestApiPut(f"/series/{series}/metadata/{_FORWARDED_COUNT_METADATA}", str(count))
    except orthanc.OrthancException as exc:
        if exc.args[0] != _UNKNOWN_RESOURCE:  # deleted in the meantime
            raise


def _register():
    settings = json.loads(orthanc.GetConfiguration()).get("DicomNode", {})
    if "Modality" not in settings:
        orthanc.LogError('dicomnode: set "DicomNode": {"Modality": ...}; nothing is forwarded')
        return
    forwarder = Forwarder(
        settings["Modality"],
        float(settings.get("FirstRetrySeconds", 5)),
        float(settings.get("LongestRetrySeconds", 900)),
    )
    notes = {
        orthanc.ChangeType.STABLE_STUDY: Note.STUDY,
        orthanc.ChangeType.JOB_SUCCESS: Note.SENT,
        orthanc.ChangeType.JOB_FAILURE: Note.FAILED,
    }

    def on_change(change, _level, resource):
        if change in notes:
            forwarder.note(notes[change], resource)
        elif change == orthanc.ChangeType.ORTHANC_STARTED:
            forwarder.start()
        elif change == orthanc.ChangeType.ORTHANC_STOPPED:
            forwarder.stop()

    orthanc.RegisterOnChangeCallback(on_change)


_register()

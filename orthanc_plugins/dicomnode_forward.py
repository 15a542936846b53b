# SPDX-FileCopyrightText: The dicomnode authors
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orthanc Python plug-in: forwards each stable study to dicomnode, and again if it was not taken.

Orthanc's own C-STORE job does the sending; nothing here blocks Orthanc, whose callbacks only put
a note in a queue. Series that dicomnode made itself are left out, and so are series whose images
were all forwarded before. Studies still owed survive a restart of Orthanc.

`/dicomnode/studies/{id}` tells where a study stands, and so does the button "AI results" on a
study's page in Orthanc Explorer.

Settings, in Orthanc's configuration (the modality has to be in `DicomModalities`; `WebUrl` is the
address of dicomnode's own pages, and may be left out):

    "DicomNode": {"Modality": "dicomnode", "FirstRetrySeconds": 5, "LongestRetrySeconds": 900,
                  "WebUrl": "https://dicomnode.example/"}
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

# Words of the node come as text, never as HTML.
_BUTTON = """
$(document).on('pagebeforecreate', '#study', function() {
  var panel = $('<div>').attr('id', 'dicomnode-state').css('padding', '0.5em');
  var button = $('<a>').attr('id', 'dicomnode-button').attr('data-role', 'button')
    .attr('href', '#').attr('data-icon', 'search').attr('data-theme', 'e').text('AI results');
  var line = function(text) { return $('<p>').css('margin', '0.3em 0').text(text); };
  var show = function(told) {
    panel.empty().append(line(told.text));
    if (told.reason) { panel.append(line('Reason: ' + told.reason)); }
    $.each(told.results, function(_, one) {
      panel.append(line(one.modality + ': ' + one.description));
    });
    if (!told.results.length) { panel.append(line('No results are here yet.')); }
    if (told.webUrl) {
      panel.append($('<a>').attr('href', told.webUrl).attr('target', '_blank')
        .attr('rel', 'noopener').text('Open this study in dicomnode'));
    }
  };
  button.click(function(event) {
    event.preventDefault();
    panel.empty().append(line('...'));
    $.ajax({
      url: '../dicomnode/studies/' + encodeURIComponent($.mobile.pageData.uuid),
      dataType: 'json', cache: false, success: show,
      error: function(request) { panel.empty().append(line('Not known: HTTP ' + request.status)); }
    });
  });
  $('#study').bind('pagehide', function() { panel.empty(); });
  $('#study-delete').closest('li').parent().before(button).before(panel);
});
"""


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
        self._reasons = {}  # study still owed -> why the last try failed

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

    def progress(self, study):
        """Where a study stands with the forwarder: (state, why, failed tries), or None.

        Asked by threads of Orthanc; what it reads is replaced as a whole, so nothing is locked.
        """
        if any(study == running for running, _ in list(self._running.values())):
            return "forwarding", "", self._failures.get(study, 0)
        if study not in self._failures:
            return None
        tries = self._failures.get(study, 0)
        return "failed" if tries else "owed", self._reasons.get(study, ""), tries

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
                    self._retry_later(resource, f"{type(exc).__name__}: {exc}")

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
            self._retry_later(study, _why_failed(job))
        if study in self._again:
            self._again.discard(study)
            self.note(Note.STUDY, study)

    def _retry_later(self, study, reason):
        failures = self._failures.get(study, 0) + 1
        self._failures[study] = failures
        self._reasons[study] = reason
        self._save()
        wait_s = min(self._first_retry_s * 2 ** min(failures - 1, 32), self._longest_retry_s)
        if study not in {owed for _, owed in self._retries}:
            heapq.heappush(self._retries, (time.monotonic() + wait_s, study))
        orthanc.LogWarning(
            f"dicomnode: study {study} was not taken (try {failures}); next try in {wait_s:g} s"
        )

    def _settle(self, study):
        self._reasons.pop(study, None)
        if self._failures.pop(study, None) is not None:
            self._save()

    def _save(self):
        orthanc.SetGlobalProperty(_OWED_STUDIES_PROPERTY, json.dumps(sorted(self._failures)))


def _why_failed(job):
    """What Orthanc says of a job that failed."""
    try:
        told = json.loads(orthanc.RestApiGet(f"/jobs/{job}"))
    except orthanc.OrthancException:  # it keeps few jobs that have ended
        return "Orthanc's C-STORE job failed"
    return (
        told.get("ErrorDetails") or told.get("ErrorDescription") or "Orthanc's C-STORE job failed"
    )


def _series_of(study):
    """All series of a study; None if there is no such study (any more)."""
    try:
        return json.loads(orthanc.RestApiGet(f"/studies/{study}/series?expand"))
    except orthanc.OrthancException as exc:
        if exc.args[0] == _UNKNOWN_RESOURCE:
            return None
        raise


def _to_forward(study):
    """Series (Orthanc's identifier) to number of instances, for those the node has yet to get."""
    listed = _series_of(study) or []
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


_TEXTS = {
    "forwarding": "The study is on its way to dicomnode.",
    "failed": "dicomnode has not taken the study yet; it is sent again.",
    "owed": "The study is about to be sent to dicomnode.",
    "receiving": "Images are still coming in; the study is sent once it is stable.",
    "forwarded": "dicomnode has the study.",
    "nothing": "The study has nothing but results of dicomnode.",
}


def _told(study, forwarder, web_url):
    """Where a study stands, as the REST route and the button tell it; None if it is unknown."""
    listed = _series_of(study)
    if listed is None:
        return None
    about = json.loads(orthanc.RestApiGet(f"/studies/{study}"))
    uid = about["MainDicomTags"].get("StudyInstanceUID", "")
    made = [series for series in listed if _made_by_dicomnode(series)]
    state, reason, tries = forwarder.progress(study) or (_settled(about, listed, made), "", 0)
    return {
        "study": study,
        "studyInstanceUid": uid,
        "state": state,
        "text": _TEXTS[state],
        "reason": reason,
        "failedTries": tries,
        "results": [
            {
                "series": series["ID"],
                "modality": series["MainDicomTags"].get("Modality", ""),
                "description": series["MainDicomTags"].get("SeriesDescription", ""),
            }
            for series in made
        ],
        "webUrl": f"{web_url.rstrip('/')}/studies/{uid}" if web_url else "",
    }


def _settled(about, listed, made):
    """The state of a study that the forwarder has nothing to do with at the moment."""
    others = [series for series in listed if series not in made]
    if not others:
        return "nothing"
    if all(_forwarded_count(series["ID"]) == len(series["Instances"]) for series in others):
        return "forwarded"
    return "owed" if about.get("IsStable") else "receiving"


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
    web_url = settings.get("WebUrl", "")
    if web_url and not web_url.startswith(("https://", "http://")):
        orthanc.LogError('dicomnode: "WebUrl" has to begin with https:// or http://; it is ignored')
        web_url = ""

    def on_asked(output, _uri, **request):
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        told = _told(request["groups"][0], forwarder, web_url)
        if told is None:
            output.SendHttpStatusCode(404)
        else:
            output.AnswerBuffer(json.dumps(told, indent=1), "application/json")

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
    orthanc.RegisterRestCallback("/dicomnode/studies/([-0-9a-f]+)", on_asked)
    orthanc.ExtendOrthancExplorer(_BUTTON)


_register()

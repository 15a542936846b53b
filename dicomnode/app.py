"""The composition root: settings in, running processes out."""

import fcntl
import os
import signal
import socket
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TextIO

import structlog

from dicomnode.domain.errors import ConfigError, StoreError
from dicomnode.domain.events import Event, EventName
from dicomnode.engine import Engine
from dicomnode.fetching import apart, fetched_files
from dicomnode.files.fetched import FetchedFiles
from dicomnode.flow import DELIVERIES, INFERENCE, REVISIONS, Flow, Intake
from dicomnode.index import open_database
from dicomnode.loops import Loop, Loops
from dicomnode.pipeline.admission import Admission
from dicomnode.pipeline.child import InferenceChildren, probe_cuda_devices
from dicomnode.pipeline.devices import ComputeDevice, compute_devices
from dicomnode.pipeline.discovery import BrokenAlgorithm
from dicomnode.receive.reports.mllp import MllpListener
from dicomnode.receiving import ReceiverProcess, now
from dicomnode.rules.watching import WatchedRules
from dicomnode.settings import Settings
from dicomnode.steering import Steering
from dicomnode.steps.auditing import AuditForwarder
from dicomnode.steps.commitments import answer_commitments
from dicomnode.steps.correcting import Correcting
from dicomnode.steps.files import Files, SharedFiles
from dicomnode.steps.installed import algorithms_of, rules_loader, rules_path, usable
from dicomnode.steps.node import Node
from dicomnode.steps.notifying import Notifier
from dicomnode.steps.quotas import apply_quotas
from dicomnode.steps.reporting import Reporting
from dicomnode.steps.telling_rules import RuleTeller
from dicomnode.store.database import Database
from dicomnode.store.rule_versions import rules_in_force
from dicomnode.web.process import WebProcess, address_of, check_open

log = structlog.get_logger()

INTAKE_EVERY_S = 0.2
RECONCILE_EVERY_S = 15.0
COUNT_EVERY_S = 2.0
FORGET_EVERY_S = 3600.0
WEB_EVERY_S = 10.0
STEER_EVERY_S = 1.0
LOOK_FOR_END_S = 1.0
LONGEST_DRAIN_S = 86_400


def open_node(
    settings: Settings,
    database: Database,
    *,
    devices: Sequence[ComputeDevice] = (),
    worker: str = "",
    files: Files | None = None,
) -> Node:
    """The parts steps work with; `worker` is the name of a process that runs models.

    `devices`: what it runs them on. `files`: how it comes by images; None: it sees the data folder.

    Raises:
        RuleError: the rule file cannot be used, and no rules were in force before.
    """
    algorithms = algorithms_of(settings)
    path = rules_path(settings)
    loader = rules_loader(settings, algorithms, str(path))
    return Node(
        settings=settings,
        database=database,
        clock=now,
        rules=WatchedRules(path, loader, in_force=rules_in_force(database)),
        algorithms=usable(algorithms),
        broken={
            name: one.fault for name, one in algorithms.items() if isinstance(one, BrokenAlgorithm)
        },
        worker=worker,
        files=files or SharedFiles(),
        admission=Admission(
            {device.name: settings.flow.device_bytes or device.free_bytes for device in devices}
            or {"": None},
            runs_per_device=settings.flow.runs_per_device,
        ),
    )


def devices_of(settings: Settings) -> tuple[ComputeDevice, ...]:
    """What models run on here.

    Raises:
        ConfigError: a device of the settings is not on this machine.
    """
    return compute_devices(
        settings.flow.devices, environ=os.environ, cuda_free=probe_cuda_devices()
    )


class Serving:
    """A whole node: receiver process, intake, flow and (by default) a worker."""

    def __init__(self, settings: Settings, *, with_worker: bool = True) -> None:
        self._settings = settings
        self._with_worker = with_worker
        self._lock = only_one(settings.data_dir / "node.lock")
        self._database = open_database(settings)
        if settings.web.enabled:
            check_open(settings, self._database)
        executor = _executor(settings, "node")
        self._devices = devices_of(settings)
        self.node = open_node(
            settings,
            self._database,
            devices=self._devices,
            worker=executor if with_worker else "",
        )
        self._receiver = ReceiverProcess(settings)
        self._children = InferenceChildren(self._devices, per_device=settings.flow.runs_per_device)
        self._engine = Engine(settings.flow_url, executor=executor)
        self.flow = Flow(self.node, self._engine, self._children)
        names = [device.name for device in self._devices]
        self._steering = Steering(
            self.node,
            self._engine,
            self.flow,
            names,
            executor=executor,
            is_part_of_node=True,
            drop_work=self._children.cancel,
            at_once=len(self._devices) * settings.flow.runs_per_device,
        )
        self._reporting = Reporting(self.node)
        self._web = WebProcess(settings) if settings.web.enabled else None
        self._mllp = self._make_mllp()
        self._loops = self._make_loops()

    def start(self) -> int:
        """Start everything; return the DICOM port."""
        if not self._with_worker:
            self._engine.listen_to([REVISIONS, DELIVERIES])
        self._steering.join()
        self._engine.launch()
        self._steering.start()
        self._receiver.start()
        self._loops.start()
        if self._mllp is not None:
            self._mllp.start()
            log.info("hl7.started", port=self._mllp.port)
        self._start_web()
        self.node.log(Event(name=EventName.NODE_STARTED, facts={"port": self._receiver.port}))
        log.info("node.started", port=self._receiver.port, ae_title=self._settings.ae_title)
        return self._receiver.port

    @property
    def web_address(self) -> str:
        """Where the pages are; empty: nowhere at the moment."""
        port = self._web.port if self._web is not None else 0
        return address_of(self._settings, port) if port else ""

    def _start_web(self) -> None:
        """Pages that cannot be served must not keep the node from receiving; tried again later."""
        if self._web is None:
            return
        try:
            self._web.start()
        except StoreError as exc:
            log.warning("web.not-started", reason=str(exc))
        else:
            log.info("web.started", address=self.web_address)

    def _make_loops(self) -> Loops:
        intake = Intake(self.node, self.flow)
        reporting = self._reporting
        correcting = Correcting(self.node)
        mining = Loop(name="mine", action=reporting.mine, every_s=COUNT_EVERY_S)
        web = self._web and Loop(name="web", action=self._web.keep_alive, every_s=WEB_EVERY_S)
        quotas = partial(apply_quotas, self.node)
        askers = partial(answer_commitments, self.node)
        forwarding = Loop(
            name="audit", action=AuditForwarder(self.node).send, every_s=COUNT_EVERY_S
        )
        telling = Loop(name="notices", action=Notifier(self.node).send, every_s=COUNT_EVERY_S)
        receiver = Loop(name="receiver", action=self._receiver.keep_alive, every_s=1.0)
        return Loops(
            (
                Loop(name="index", action=intake.index, every_s=INTAKE_EVERY_S),
                Loop(name="close", action=intake.close, every_s=INTAKE_EVERY_S),
                Loop(name="rules", action=RuleTeller(self.node).look, every_s=COUNT_EVERY_S),
                Loop(name="count", action=intake.count, every_s=COUNT_EVERY_S),
                Loop(name="reconcile", action=self.flow.reconcile, every_s=RECONCILE_EVERY_S),
                Loop(name="forget", action=self.flow.forget, every_s=FORGET_EVERY_S),
                Loop(name="take-reports", action=reporting.take, every_s=COUNT_EVERY_S),
                Loop(name="corrections", action=correcting.take, every_s=COUNT_EVERY_S),
                Loop(name="match-reports", action=reporting.match, every_s=COUNT_EVERY_S),
                *([mining] if self._settings.reports.enabled else []),
                Loop(name="commitments", action=askers, every_s=COUNT_EVERY_S),
                Loop(name="quotas", action=quotas, every_s=FORGET_EVERY_S),
                *([forwarding] if self._settings.audit.syslog_host else []),
                *([telling] if self._settings.notices.hl7_host else []),
                *steering_loops(self._steering),
                receiver,
                *([web] if web else []),
            )
        )

    def _make_mllp(self) -> MllpListener | None:
        hl7 = self._settings.reports.hl7
        if not hl7.enabled:
            return None
        reporting = self._reporting
        return MllpListener(hl7, reporting.keep_messages, reporting.refuse_message, now)

    def stop(self) -> None:
        """Stop in order: no more images, no more work; what is in flight goes on next time."""
        if self._mllp is not None:
            self._mllp.stop()
        self._loops.stop()
        if self._web is not None:
            self._web.stop()
        self._receiver.stop()
        self.node.log(Event(name=EventName.NODE_STOPPED))
        # The engine first: a run that ends because its child is closed must not count as ended.
        self._engine.stop()
        self.node.admission.close()
        self._children.close()
        self._steering.stop()
        self._database.dispose()
        self._lock.close()
        log.info("node.stopped")


class Working:
    """A worker: takes inference jobs from the queue of a node it shares the database with.

    It sees the node's data folder too, or fetches files as the settings say.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._lock = only_one(settings.data_dir / f"worker-{name}.lock")
        self._files: FetchedFiles | None = None
        if settings.files.url:
            settings = apart(settings, name)
            self._files = fetched_files(settings, lambda: self._flow.lease)
        self._settings = settings
        self._database = open_database(settings)
        executor = f"{socket.gethostname()}-{name}"
        self._devices = devices_of(settings)
        self._node = open_node(
            settings, self._database, devices=self._devices, worker=executor, files=self._files
        )
        self._children = InferenceChildren(self._devices, per_device=settings.flow.runs_per_device)
        self._engine = Engine(settings.flow_url, executor=executor)
        self._flow = Flow(self._node, self._engine, self._children)
        names = [device.name for device in self._devices]
        self._steering = Steering(
            self._node,
            self._engine,
            self._flow,
            names,
            executor=executor,
            drop_work=self._children.cancel,
            at_once=len(self._devices) * settings.flow.runs_per_device,
        )
        self._loops = Loops(steering_loops(self._steering))

    def start(self) -> None:
        """Take work until stopped."""
        self._engine.listen_to([INFERENCE])
        self._steering.join()
        self._engine.launch()
        self._steering.start()
        self._loops.start()
        log.info("worker.started", devices=[device.name for device in self._devices])

    def wait(self) -> None:
        """Return on SIGTERM or Ctrl-C, or when a person asked this worker to end."""
        wait_for_signal(self._steering.drained)

    def stop(self) -> None:
        """Leave; what is in flight goes on when a worker of this name starts again.

        If a person asked it to end, that is finished first.
        """
        if self._steering.drained.is_set():
            log.info("worker.draining")
            self._engine.stop(grace_s=LONGEST_DRAIN_S)
        else:
            self._engine.stop()
        self._loops.stop()
        if self._files is not None:
            self._files.close()
        self._node.admission.close()
        self._children.close()
        self._steering.stop()
        self._database.dispose()
        self._lock.close()


def steering_loops(steering: Steering) -> tuple[Loop, ...]:
    """What keeps a process that does the flow's work in step with the index and the others."""
    return (
        Loop(name="steer", action=steering.look, every_s=STEER_EVERY_S),
        Loop(name="watch", action=steering.watch, every_s=steering.often_s),
    )


def wait_for_signal(ends: threading.Event | None = None) -> None:
    """Return on SIGTERM or Ctrl-C, or when `ends` is set."""
    stop = threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    while not (stop.wait(LOOK_FOR_END_S) or (ends is not None and ends.is_set())):
        pass


def _executor(settings: Settings, name: str) -> str:
    """SQLite: one node, so a fixed name, by which a restart finds its unfinished work."""
    is_shared = bool(settings.database_url or settings.flow_database_url)
    return f"{socket.gethostname()}-{name}" if is_shared else name


def only_one(path: Path) -> TextIO:
    """Hold a lock as long as the process lives.

    Raises:
        ConfigError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        raise ConfigError([f"another process of this node is running (it holds {path})"]) from exc
    return lock

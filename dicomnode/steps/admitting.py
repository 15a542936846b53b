"""What a job is predicted to take of a device's memory."""

from dicomnode.domain.device_memory import MemoryLine, learned
from dicomnode.domain.jobs import Job
from dicomnode.pipeline.discovery import AlgorithmDescription
from dicomnode.steps.node import Node
from dicomnode.store.memory_use import input_voxels, measured_runs


def predicted(
    node: Node, job: Job, known: AlgorithmDescription, *, on_cuda: bool
) -> tuple[int, MemoryLine] | None:
    """Bytes, and the line they were read from; None: nothing is known of it.

    What the bundle states counts before what its earlier runs took here.
    """
    voxels = input_voxels(node.database, job)
    if voxels is None:
        return None
    line = known.memory
    if line is None:
        version = known.identity.version
        runs = measured_runs(node.database, job.algorithm, version, on_cuda=on_cuda)
        line = learned(runs, voxels)
    return None if line is None else (line.of(voxels), line)

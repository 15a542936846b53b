"""A prediction within the memory that is allowed: whole, slab by slab, or refused beforehand."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, prod

import numpy as np

from dicomnode.algorithm import RunContext
from dicomnode.domain.device_memory import Shortage
from dicomnode.domain.errors import ContractBroken, InputRefused, OutOfMemory
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.inference import Prediction, ReadyBundle, predict
from dicomnode.pipeline.manifest import Manifest, Segments
from dicomnode.pipeline.memory import (
    allowed_memory,
    in_gigabytes,
    need_of,
    shifted,
    slabs,
    slabs_that_fit,
)
from dicomnode.pipeline.tensors import to_grid

_SMALLER = (2, 4, 8)
"""Slabs that are tried one after the other on a device that ran out of memory."""


def predict_bounded(
    ready: ReadyBundle,
    manifest: Manifest,
    wanted: Segments,
    inputs: Mapping[str, Volume],
    context: RunContext,
) -> Prediction:
    """`predict`, cut into slabs if the bundle allows it and memory asks for it.

    Raises:
        InputRefused: the volume needs more memory than is allowed; nothing was run.
        OutOfMemory, ContractBroken, AlgorithmError: as `predict`.
    """
    image = inputs[next(iter(manifest.inputs))]
    if context.shortage is not None:
        return _predict_cut(ready, manifest, image, context, context.shortage)
    need = need_of(image.grid, wanted, ready.preprocessing, ready.postprocessing)
    allowed = allowed_memory(context.memory_bytes)
    context.progress(0.05, f"needs about {in_gigabytes(need.whole)}")
    can_be_cut = manifest.slabs is not None and len(inputs) == 1
    margin = _margin(manifest, image)
    count = slabs_that_fit(need, allowed, margin)
    if count == 1:
        return predict(ready, manifest, inputs, context)
    if count is None or not can_be_cut:
        how = "even slab by slab" if can_be_cut else "and this bundle cannot be read slab by slab"
        raise InputRefused(
            f"{image.grid.shape[0]} slices need about {in_gigabytes(need.whole)} of memory, "
            f"{in_gigabytes(allowed)} are allowed, {how}: free memory or raise [flow] memory_gb"
        )
    context.notes.append(
        f"read in {count} slabs: the whole volume would need {in_gigabytes(need.whole)} of memory"
    )
    return _in_slabs(ready, manifest, image, context, count=count, margin=margin)


def slabs_for_device(
    manifest: Manifest, inputs: Mapping[str, Volume], short: Shortage
) -> int | None:
    """Into how many slabs inputs have to be cut for a device that is too small; None: it cannot."""
    if manifest.slabs is None or len(inputs) > 1:
        return None
    (image,) = inputs.values()
    slices, margin = image.grid.shape[0], _margin(manifest, image)
    at_once = short.line.fitting(short.budget_bytes) * slices // max(1, prod(image.grid.shape))
    for count in range(2, slices + 1):
        if ceil(slices / count) + 2 * margin <= at_once:
            return count
    return None


def _margin(manifest: Manifest, image: Volume) -> int:
    """Slices that each slab reaches over its ends."""
    if manifest.slabs is None:
        return 0
    return ceil(manifest.slabs.margin_mm / image.grid.spacing_mm[0])


def _predict_cut(
    ready: ReadyBundle, manifest: Manifest, image: Volume, context: RunContext, short: Shortage
) -> Prediction:
    count = slabs_for_device(manifest, {next(iter(manifest.inputs)): image}, short)
    assert count is not None, "the CPU was to be taken"
    context.notes.append(
        f"read in {count} slabs: the whole was predicted to need {in_gigabytes(short.need_bytes)}, "
        f"{context.device} has {in_gigabytes(short.budget_bytes)}"
    )
    margin = _margin(manifest, image)
    return _in_slabs(ready, manifest, image, context, count=count, margin=margin)


def predict_after_shortage(
    ready: ReadyBundle, manifest: Manifest, inputs: Mapping[str, Volume], context: RunContext
) -> Prediction | None:
    """In smaller and smaller slabs on a device that was too small for the whole; None: it still is.

    Raises:
        ContractBroken, AlgorithmError: as `predict`.
    """
    image = inputs[next(iter(manifest.inputs))]
    if manifest.slabs is None or len(inputs) > 1:
        return None
    margin = _margin(manifest, image)
    for count in _SMALLER:
        if count > image.grid.shape[0]:
            break
        try:
            said = _in_slabs(ready, manifest, image, context, count=count, margin=margin)
        except OutOfMemory:
            continue
        context.notes.append(f"read in {count} slabs: {context.device} was too small for the whole")
        return said
    return None


def _in_slabs(
    ready: ReadyBundle,
    manifest: Manifest,
    image: Volume,
    context: RunContext,
    *,
    count: int,
    margin: int,
) -> Prediction:
    """Each slab by itself, on the grid of the image; what its margins say is thrown away."""
    name = next(iter(manifest.inputs))
    whole = None
    quiet = replace(context, progress=lambda _fraction, _stage: None)
    for number, (read, keep) in enumerate(slabs(image.grid.shape[0], count, margin)):
        context.progress(0.1 + 0.7 * number / count, f"slab {number + 1} of {count}")
        part = _part(image, read)
        said = predict(ready, manifest, {name: part}, quiet)
        placed = [to_grid(channel, said.affine, part.grid) for channel in said.channels]
        if whole is None:
            whole = np.zeros((len(placed), *image.grid.shape), dtype=np.int16)
        if len(placed) != len(whole):
            raise ContractBroken("pred has another number of channels in another slab")
        inner = slice(keep.start - read.start, keep.stop - read.start)
        for index, channel in enumerate(placed):
            labels = channel[inner].astype(np.int16)
            if not np.array_equal(labels, channel[inner]):
                raise ContractBroken("pred holds values that are no labels")
            whole[index, keep.start : keep.stop] = labels
    if whole is None:
        raise ContractBroken("the volume has no slices")
    # (channel, column, row, slice), as `predict` gives it
    return Prediction(channels=whole.transpose(0, 3, 2, 1), affine=None)


def _part(image: Volume, read: range) -> Volume:
    here = slice(read.start, read.stop)
    grid = replace(
        image.grid,
        affine_lps_mm=shifted(image.grid.affine_lps_mm, read.start),
        shape=(len(read), *image.grid.shape[1:]),
    )
    return replace(image, array=image.array[here], grid=grid, frames=image.frames[here])

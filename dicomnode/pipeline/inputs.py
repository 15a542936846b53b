"""Does a volume fit what an algorithm needs?"""

from collections.abc import Mapping

from dicomnode.algorithm import InputSpec
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.volumes import Volume

_ROUNDING_MM = 0.01


def check_inputs(needs: Mapping[str, InputSpec], inputs: Mapping[str, Volume]) -> None:
    """Return if every input that is needed is there and fits.

    Raises:
        InputRefused: naming the input and what does not fit.
    """
    for name, spec in needs.items():
        if name not in inputs:
            raise InputRefused(f"input {name!r} is missing")
        fault = _fault(spec, inputs[name])
        if fault:
            raise InputRefused(f"input {name!r} {fault}")


def _fault(spec: InputSpec, volume: Volume) -> str | None:
    slices = volume.grid.shape[0]
    spacing = volume.grid.spacing_mm[0]
    if volume.modality not in spec.modalities:
        return f"is {volume.modality}, not {' or '.join(sorted(spec.modalities))}"
    if spec.dimensions == 2 and slices != 1:
        return f"has {slices} slices, not one"
    if spec.dimensions == 3 and slices < spec.min_slices:
        return f"has {slices} slices, fewer than {spec.min_slices}"
    if spec.max_spacing_mm is not None and spacing > spec.max_spacing_mm + _ROUNDING_MM:
        return f"has slices {spacing:.2f} mm apart, more than {spec.max_spacing_mm:g} mm"
    return None

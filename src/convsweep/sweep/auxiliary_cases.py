"""Further cases of a run: rooflines of the machine, and parts of separable layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from convsweep.backends.roofline_probes import roofline_probes
from convsweep.problems.case import ITEMSIZE, Case
from convsweep.problems.separable import SEPARABLE, SEPARABLE_PARTS, is_replaceable
from convsweep.problems.workloads import Layer
from convsweep.results.schema import BASELINE, SEPARABLE_PART
from convsweep.sweep.choices import DeviceInfo


def ceiling_cases(cases: Iterable[Case], devices: Mapping[str, DeviceInfo]) -> list[Case]:
    """Return the roofline cases of `devices`, in every dtype and thread count of the cases."""
    settings = dict.fromkeys((case.device, case.dtype, case.threads) for case in cases)
    return [
        Case(layer, "dense", device, dtype, "contiguous", threads, "hot", backend)
        for device, dtype, threads in settings
        for layer, backend in roofline_probes(device, ITEMSIZE[dtype], devices[device].cache_bytes)
    ]


def separable_part_cases(cases: Sequence[Case]) -> list[Case]:
    """Return the depthwise and pointwise parts of layers that are timed standard and separable.

    They run on `torch_conv`, as in the separable layer. Equal parts occur once.
    """
    compared = {case.group for case in cases if case.backend == BASELINE}
    parts = [
        replace(
            case,
            layer=Layer(part(case.problem), name=name, role=SEPARABLE_PART),
            weight_kind="dense",
            backend=BASELINE,
        )
        for case in cases
        if case.backend == SEPARABLE and case.group in compared and is_replaceable(case.problem)
        for name, part in SEPARABLE_PARTS.items()
    ]
    return list(dict.fromkeys(parts))

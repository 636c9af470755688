"""Validated request of a sweep."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.backends.registry import list_backends
from convsweep.backends.roofline_probes import PROBE_BACKENDS
from convsweep.backends.variants import find_backend
from convsweep.measure.outcome import Outcome
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.problems.case import (
    CACHES,
    DIRECTIONS,
    DTYPES,
    MEMORY_FORMATS,
    WEIGHT_KINDS,
    Case,
    cross,
)
from convsweep.problems.workloads import Layer
from convsweep.results.schema import AGAIN, MARGIN, NOISE, SLOWED
from convsweep.sweep.auxiliary_cases import ceiling_cases, separable_part_cases
from convsweep.sweep.choices import (
    DeviceInfo,
    Hardware,
    check_threads,
    choose_backends,
    choose_baseline,
    choose_blocks,
    choose_each,
    choose_one,
)
from convsweep.sweep.chosen_layers import choose_layers
from convsweep.sweep.forecast import skipped_cases
from convsweep.sweep.sharding import Shard, group_costs_s, parse_shard, shares
from convsweep.system.devices import find_device
from convsweep.system.environment import usable_cores
from convsweep.system.process import ALLOCATORS
from convsweep.units import fraction, named, seconds

_CASES_IN_BUDGET, _MIN_TIMEOUT_S = 20, 1.0  # default time limit of a case, with a budget
_MIN_AUXILIARY_S = 20.0  # a shorter budget is for the requested cases alone
MAX_PASSES = 1000


@dataclass(frozen=True)
class Options:
    """Unchecked words of the command line; empty: not given."""

    grid: str | None = None
    workloads: Sequence[str] = ()
    problems: Path | None = None
    labels: Sequence[str] = ()  # problems as `ConvProblem.parse` reads them
    layer: str | None = None  # name of the only layer to measure
    axes: Sequence[str] = ()
    batch_sizes: Sequence[int] = ()
    backends: Sequence[str] = ()
    devices: Sequence[str] = ()
    dtypes: Sequence[str] = ()
    memory_formats: Sequence[str] = ()
    threads: Sequence[int] = ()
    caches: Sequence[str] = ()
    directions: Sequence[str] = ()
    blocks: Sequence[str] = ()
    weight_kind: str = "separable"
    passes: int | None = None
    budget: str | None = None
    precision: str | None = None
    margin: str | None = None
    case_timeout: str | None = None
    allocator: str = "retain"
    baseline: str | None = None
    ceilings: bool | None = None
    """Whether to measure the roofline; None: if there is time. True has time for parts, too."""
    trace: bool = True  # whether to find what each case runs
    shard: str | None = None
    started_s: float | None = None  # reading of `monotonic` when the command started; None: now


@dataclass(frozen=True)
class Request:
    """Cases to measure, and how."""

    name: str
    cases: Sequence[Case]
    backends: Mapping[str, Backend]
    device_descriptions: Mapping[str, str]  # product name per device
    passes: int  # number of passes; with a budget or a precision the maximum
    budget_s: float | None  # seconds from the start of the command to its end; None: all passes
    precision: float | None
    """Relative half width of a narrow interval; None: until the verdict is decided."""
    margin: float  # relative difference below which two times are the same
    case_timeout_s: float
    allocator: str
    baseline: str
    trace: bool = True
    peak_memory: bool = True  # whether to measure the peak memory of each case
    started_s: float = field(default_factory=monotonic, compare=False)
    """Reading of `monotonic` from which the budget counts."""
    ceilings: Sequence[Case] = ()
    """Roofline cases, measured first; with a budget after the other cases, in a tenth of it."""
    separable_parts: Sequence[Case] = ()
    """Depthwise and pointwise parts of separable layers, each alone."""
    shard: Shard | None = None  # part of `whole`; None: everything
    whole: "Request | None" = None  # request of all shards together

    @property
    def run_name(self) -> str:
        """Name for a run folder, with the shard."""
        shard = self.shard
        return self.name if shard is None else f"{self.name}-{shard.index}of{shard.of}"

    @property
    def every_case(self) -> list[Case]:
        """All cases, with ceilings and separable parts."""
        return [*self.ceilings, *self.cases, *self.separable_parts]

    @property
    def every_backend(self) -> dict[str, Backend]:
        """Backends of all cases by name."""
        return {**PROBE_BACKENDS, **self.backends}

    @cached_property
    def skipped(self) -> dict[Case, Outcome]:
        """Cases that cannot run here, each with its reason."""
        return skipped_cases(self.every_case, self.every_backend)

    @property
    def runnable_cases(self) -> list[Case]:
        """All cases but the skipped ones."""
        return [case for case in self.every_case if case not in self.skipped]

    @property
    def adaptive(self) -> bool:
        """Whether cases end once they are decided."""
        return self.budget_s is not None or self.precision is not None

    def to_metadata(self) -> dict[str, object]:
        """Return the request as in environment.json: everything that rows of one run share."""
        whole = self.whole or self
        return {
            "name": self.name,
            "shard": None if self.shard is None else str(self.shard),
            "full_request_hash": _digest(whole.cases),
            "full_case_count": len(whole.cases),
            "case_count": len(self.cases),
            "problems": len({case.layer for case in self.cases}),
            "backends": list(self.backends),
            "devices": list(self.device_descriptions),
            "dtypes": sorted({case.dtype for case in self.cases}),
            "memory_formats": sorted({case.memory_format for case in self.cases}),
            "threads": sorted({case.threads for case in self.cases}),
            "caches": sorted({case.cache for case in self.cases}),
            "directions": sorted({case.direction for case in self.cases}),
            "blocks": sorted({case.block for case in self.cases}),
            "weight_kinds": sorted({case.weight_kind for case in self.cases}),
            "case_hash": _digest(self.cases),
            "passes": self.passes,
            "precision": self.precision,
            "allocator": self.allocator,
        }


def _digest(cases: Sequence[Case]) -> str:
    """Return a hash of the cases in any order."""
    return hashlib.sha256("\n".join(sorted({*map(repr, cases)})).encode()).hexdigest()[:12]


def read_request(
    options: Options,
    model: tuple[str, Sequence[Layer]] | None = None,
    hardware: Hardware | None = None,
) -> Request:
    """Return the checked request; raise `ValueError` with the first wrong value.

    Args:
        options: words of the command line.
        model: name and layers of a model, instead of the problems in `options`.
        hardware: by default this machine.
    """
    chosen = {
        "--grid": options.grid,
        "--workload": options.workloads,
        "--problem": options.labels,
        "--problems": options.problems,
        "--axis": options.axes,
    }
    name, layers, grid = choose_layers(chosen, model, options.layer, options.batch_sizes)
    known, hardware = list_backends(), hardware or Hardware(usable_cores(), find_device)
    names = choose_backends(options.backends or grid.backends or (), known)
    device_names = dict.fromkeys(options.devices or ("cpu",))
    cases = cross(
        layers,
        names,
        devices=tuple(device_names),
        dtypes=choose_each("dtype", options.dtypes or grid.dtypes, DTYPES),
        memory_formats=choose_each(
            "memory format", options.memory_formats or ("contiguous",), MEMORY_FORMATS
        ),
        threads=check_threads(options.threads, hardware.cores),
        caches=choose_each("cache", options.caches or ("hot",), CACHES),
        directions=choose_each("direction", options.directions or grid.directions, DIRECTIONS),
        blocks=choose_blocks(options.blocks, [known[n] for n in names], layers),
        weight_kind=choose_one("weight kind", options.weight_kind, WEIGHT_KINDS),
    )
    devices = {name: hardware.find_device(name) for name in device_names}
    budget_s = named("--budget", seconds, options.budget)
    precision = named("--precision", fraction, options.precision)
    usual_passes = grid.passes if budget_s is None and precision is None else MAX_PASSES
    passes = usual_passes if options.passes is None else options.passes
    if not 1 <= passes <= MAX_PASSES:
        raise ValueError(f"--passes {passes} is not a whole number from 1 to {MAX_PASSES}")
    has_time = bool(options.ceilings) or (budget_s or inf) >= _MIN_AUXILIARY_S
    ceilings = has_time and options.ceilings is not False
    request = Request(
        name=name,
        cases=cases,
        backends={name: known[name] for name in names},
        device_descriptions={name: device.description for name, device in devices.items()},
        passes=passes,
        budget_s=budget_s,
        precision=precision,
        margin=named("--margin", fraction, options.margin) or MARGIN,
        case_timeout_s=named("--case-timeout", seconds, options.case_timeout)
        or min(grid.case_timeout_s, max(_MIN_TIMEOUT_S, (budget_s or inf) / _CASES_IN_BUDGET)),
        allocator=choose_one("allocator", options.allocator, ALLOCATORS),
        baseline=choose_baseline(options.baseline, names, known),
        trace=options.trace,
        peak_memory=has_time,
        started_s=monotonic() if options.started_s is None else options.started_s,
        ceilings=ceiling_cases(cases, devices) if ceilings else (),
        separable_parts=separable_part_cases(cases) if grid.separable_parts and has_time else (),
    )
    if options.shard is None:
        return request
    return _shard_request(request, parse_shard(options.shard), devices)


def _shard_request(whole: Request, shard: Shard, devices: Mapping[str, DeviceInfo]) -> Request:
    """Return the cases of a shard, its ceilings, and its separable parts without earlier ones."""
    settings = Settings(case_timeout_s=whole.case_timeout_s, effort=MeasurementConfig())
    costs_s = group_costs_s(whole.cases, whole.backends, settings, whole.passes)
    *earlier, own = shares(whole.cases, costs_s, shard)
    known = {part for cases in earlier for part in separable_part_cases(cases)}
    parts = [part for part in separable_part_cases(own) if part not in known]
    return replace(
        whole,
        cases=own,
        ceilings=ceiling_cases(own, devices) if whole.ceilings else (),
        separable_parts=parts if whole.separable_parts else (),
        shard=shard,
        whole=whole,
    )


def aa_request(request: Request) -> Request:
    """Return the A/A test of a request: each backend twice, and once with 5 % more work."""
    if request.passes < 2:
        raise ValueError(f"--passes {request.passes}: noise differs between passes, 2 at least")
    names = [
        name for own in request.backends for name in (own, f"{own}+{AGAIN}", f"{own}+{SLOWED}")
    ]
    groups = dict.fromkeys(case.group for case in request.cases)
    return replace(
        request,
        name=NOISE,
        # Both ends of a difference are measured equally often: no case ends before the budget.
        precision=request.precision if request.budget_s is None else 0.0,
        cases=[group.on(name) for group in groups for name in names],
        backends={name: find_backend(name) for name in names},
        baseline=next(iter(request.backends)),
        ceilings=(),
        separable_parts=(),
    )

"""What a user asks to sweep, checked before anything is measured or written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from convsweep.backends.base import BASIC, FAMILIES, Backend
from convsweep.backends.registry import list_backends
from convsweep.backends.roofline_probes import PROBE_BACKENDS
from convsweep.backends.variants import aa_variant, find_backend, slowed_variant
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.worker import Settings
from convsweep.problems.axes import parse_axis, span
from convsweep.problems.case import CACHES, DTYPES, MEMORY_FORMATS, WEIGHT_KINDS, Case, cross
from convsweep.problems.grids import GRIDS, Grid
from convsweep.problems.workloads import Layer, read_problems, workloads
from convsweep.results.store import BASELINE, MARGIN
from convsweep.sweep.auxiliary_cases import ceiling_cases, separable_part_cases
from convsweep.sweep.hardware import DeviceInfo, Hardware, this_machine
from convsweep.sweep.sharding import Shard, group_costs_s, parse_shard, shares
from convsweep.system.process import ALLOCATORS
from convsweep.units import fraction, named, seconds

DEFAULT_GRID = "quick"
_CASES_IN_BUDGET, _LEAST_TIMEOUT_S = 20, 0.5  # no case may take more of a budget, unless it is told
MOST_PASSES = 1000
_FEWEST_PASSES = 2  # that noise can be seen between
SLOWDOWN_PERCENT = 5
"""Percent that a twin is made slower by, to see whether that is found."""


@dataclass(frozen=True)
class Options:
    """The words of the command line, unchecked; empty means not given."""

    grid: str | None = None
    workloads: Sequence[str] = ()
    problems: Path | None = None
    axes: Sequence[str] = ()
    backends: Sequence[str] = ()
    devices: Sequence[str] = ()
    dtypes: Sequence[str] = ()
    memory_formats: Sequence[str] = ()
    threads: Sequence[int] = ()
    caches: Sequence[str] = ()
    weight_kind: str = "separable"
    passes: int | None = None
    budget: str | None = None
    precision: str | None = None
    margin: str | None = None
    case_timeout: str | None = None
    allocator: str = "retain"
    baseline: str | None = None
    ceilings: bool = True
    shard: str | None = None


@dataclass(frozen=True)
class Request:
    """A sweep that can be run."""

    name: str
    """What the problems are, in a word: the grid's, the workload's or the file's name."""
    cases: Sequence[Case]
    backends: Mapping[str, Backend]
    device_descriptions: Mapping[str, str]
    """The product's name of each device that takes part."""
    passes: int
    """Visits to every case; with a budget or a precision the most of them."""
    budget_s: float | None
    """Seconds to spend where the answer is open; None: all passes."""
    precision: float | None
    """The relative half width of an interval that is narrow enough; None: what a verdict needs."""
    margin: float
    """Of a verdict: what differs by less is the same."""
    case_timeout_s: float
    allocator: str
    baseline: str
    ceilings: Sequence[Case] = ()
    """What measures the machine, before anything else."""
    halves: Sequence[Case] = ()
    """The halves of separable layers, each alone."""
    shard: Shard | None = None
    """Which part of `whole` this is; None: it is all that was asked."""
    whole: Request | None = None
    """What was asked in all, of a shard."""

    @property
    def run_name(self) -> str:
        """What a folder is named by: the name, and which shard, as many may begin at once."""
        shard = self.shard
        return self.name if shard is None else f"{self.name}-{shard.index}of{shard.of}"

    @property
    def every_case(self) -> list[Case]:
        """All that is visited."""
        return [*self.ceilings, *self.cases, *self.halves]

    @property
    def every_backend(self) -> dict[str, Backend]:
        """The backends of all that is visited, by name."""
        return {**PROBE_BACKENDS, **self.backends}

    @property
    def adaptive(self) -> bool:
        """Whether cases drop out once their answer is settled."""
        return self.budget_s is not None or self.precision is not None

    def told(self) -> dict[str, object]:
        """What was asked, as environment.json keeps it: all that rows of one run must share."""
        whole = self.whole or self
        return {
            "name": self.name,
            "shard": None if self.shard is None else str(self.shard),
            "full_request_hash": _digest([*whole.cases, *whole.halves]),
            "full_case_count": len(whole.cases),
            "case_count": len(self.cases),
            "problems": len({case.layer for case in self.cases}),
            "backends": list(self.backends),
            "devices": list(self.device_descriptions),
            "dtypes": sorted({case.dtype for case in self.cases}),
            "memory_formats": sorted({case.memory_format for case in self.cases}),
            "threads": sorted({case.threads for case in self.cases}),
            "caches": sorted({case.cache for case in self.cases}),
            "weight_kinds": sorted({case.weight_kind for case in self.cases}),
            "case_hash": _digest(self.every_case),
            "passes": self.passes,
            "precision": self.precision,
            "allocator": self.allocator,
        }


def _digest(cases: Sequence[Case]) -> str:
    """Which cases these are, in any order."""
    labels = sorted({repr(case) for case in cases})
    return hashlib.sha256("\n".join(labels).encode()).hexdigest()[:12]


def read_request(
    options: Options,
    model: tuple[str, Sequence[Layer]] | None = None,
    hardware: Hardware | None = None,
) -> Request:
    """Check every word, and say in one line what is wrong with the first that is.

    Args:
        options: the words.
        model: a name and layers to sweep in place of those that `options` choose.
        hardware: what the sweep runs on; by default this machine.

    Raises:
        ValueError: names the value and what is allowed.
    """
    name, layers, grid = (*model, Grid("", (), separable_parts=True)) if model else _layers(options)
    known, here = list_backends(), hardware or this_machine()
    names = _backend_names(options.backends or grid.backends or (), known)
    devices = dict.fromkeys(options.devices or ("cpu",))
    usual = BASELINE if BASELINE in names else names[0]
    baseline = usual if options.baseline is None else _one("baseline", options.baseline, names)
    cases = cross(
        layers,
        names,
        devices=tuple(devices),
        dtypes=_each("dtype", options.dtypes or ("float32",), DTYPES),
        memory_formats=_each(
            "memory format", options.memory_formats or ("contiguous",), MEMORY_FORMATS
        ),
        threads=_threads(options.threads, here.cores),
        caches=_each("cache", options.caches or ("hot",), CACHES),
        weight_kind=_one("weight kind", options.weight_kind, WEIGHT_KINDS),
    )
    places = {name: here.find(name) for name in devices}
    budget_s, precision = (
        _amount("--budget", options.budget, seconds),
        _amount("--precision", options.precision, fraction),
    )
    most = grid.passes if budget_s is None and precision is None else MOST_PASSES
    passes = most if options.passes is None else options.passes
    if not 1 <= passes <= MOST_PASSES:
        raise ValueError(f"--passes {passes} is not a whole number from 1 to {MOST_PASSES}")
    limit = options.case_timeout
    request = Request(
        name=name,
        cases=cases,
        backends={name: known[name] for name in names},
        device_descriptions={name: place.description for name, place in places.items()},
        passes=passes,
        budget_s=budget_s,
        precision=precision,
        margin=_amount("--margin", options.margin, fraction) or MARGIN,
        case_timeout_s=_amount("--case-timeout", limit, seconds)
        or min(grid.case_timeout_s, max(_LEAST_TIMEOUT_S, (budget_s or inf) / _CASES_IN_BUDGET)),
        allocator=_one("allocator", options.allocator, ALLOCATORS),
        baseline=baseline,
        ceilings=ceiling_cases(cases, places) if options.ceilings else (),
        halves=separable_part_cases(cases) if grid.separable_parts else (),
    )
    if options.shard is None:
        return request
    return _share(request, parse_shard(options.shard), places)


def _share(whole: Request, shard: Shard, places: Mapping[str, DeviceInfo]) -> Request:
    """The shard's cases, the ceilings of their settings, and the halves that no earlier one has."""
    settings = Settings(case_timeout_s=whole.case_timeout_s, effort=MeasurementConfig())
    costs_s = group_costs_s(whole.cases, whole.backends, settings, whole.passes)
    *earlier, own = shares(whole.cases, costs_s, shard)
    known = {half for cases in earlier for half in separable_part_cases(cases)}
    return replace(
        whole,
        cases=own,
        ceilings=ceiling_cases(own, places) if whole.ceilings else (),
        halves=[half for half in separable_part_cases(own) if half not in known]
        if whole.halves
        else (),
        shard=shard,
        whole=whole,
    )


def aa_request(request: Request) -> Request:
    """The same problems, but each backend beside its twin, and beside one with 5 % more work.

    Raises:
        ValueError: there are too few passes to differ.
    """
    if request.passes < _FEWEST_PASSES:
        raise ValueError(
            f"--passes {request.passes}: noise is what differs between passes, 2 at least"
        )
    names = [
        name
        for own in request.backends
        for name in (own, aa_variant(own), slowed_variant(own, SLOWDOWN_PERCENT))
    ]
    groups = dict.fromkeys(case.group for case in request.cases)
    return replace(
        request,
        name="noise",
        cases=[group.on(name) for group in groups for name in names],
        backends={name: find_backend(name) for name in names},
        baseline=next(iter(request.backends)),
        ceilings=(),
        halves=(),
    )


def _layers(options: Options) -> tuple[str, list[Layer], Grid]:
    """The problems, a word for them, and the grid whose passes and time limit hold."""
    chosen = {
        "--grid": options.grid,
        "--workload": options.workloads,
        "--problems": options.problems,
        "--axis": options.axes,
    }
    given = [option for option, value in chosen.items() if value or value == ""]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other; choose one")
    plain = Grid("", (), separable_parts=True)
    if options.workloads:
        found = _each("workload", options.workloads, workloads())
        return "+".join(found), [x for name in found for x in workloads()[name]], plain
    if options.problems:
        layers = list(dict.fromkeys(read_problems(options.problems)))
        return options.problems.stem, layers, plain
    if options.axes:
        problems = span([parse_axis(text) for text in options.axes])
        return "axes", [Layer(problem) for problem in problems], plain
    name = _one("grid", DEFAULT_GRID if options.grid is None else options.grid, GRIDS)
    return name, GRIDS[name].layers(), GRIDS[name]


def _amount(option: str, text: str | None, read: Callable[[str], float]) -> float | None:
    """The number that an option's text stands for; None where it was not given."""
    return None if text is None else named(option, read, text)


def _one(what: str, value: str, allowed: Sequence[str] | Mapping[str, object]) -> str:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; there is {', '.join(allowed)}")
    return value


def _each(
    what: str, values: Sequence[str], allowed: Sequence[str] | Mapping[str, object]
) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_one(what, value, allowed) for value in values))


def _backend_names(words: Sequence[str], known: Mapping[str, Backend]) -> tuple[str, ...]:
    """The backends of these names and families, `all` being one; without words those of none."""
    members = {word: [n for n, b in known.items() if b.family == word] for word in FAMILIES}
    if not words:
        return tuple(members[BASIC])
    members["all"] = list(known)
    _each("backend", words, [*known, *FAMILIES, "all"])
    return tuple(dict.fromkeys(name for word in words for name in members.get(word, [word])))


def _threads(values: Sequence[int], cores: int) -> tuple[int, ...]:
    for value in values:
        if not 1 <= value <= cores:
            raise ValueError(
                f"--threads {value} is not a whole number from 1 to {cores}, the cores"
            )
    return tuple(dict.fromkeys(values)) or (1,)

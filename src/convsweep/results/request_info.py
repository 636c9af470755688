"""What environment.json records of a run's request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from convsweep.results.machines import machines
from convsweep.results.schema import BASELINE, MARGIN


class RequestInfo(NamedTuple):
    """Baseline, margin and number of cases that a run was requested with."""

    baseline: str = BASELINE
    margin: float = MARGIN
    cases: int = 0
    """Number of requested cases on all machines; 0 if unknown."""
    other_shards_cases: int = 0
    """Number of cases of the other shards."""


def read_request_info(environment: Mapping[str, Any]) -> RequestInfo:
    """Read the request of a run from its environment.json, which may be edited."""
    baseline, margin = environment.get("baseline"), environment.get("margin")
    request = environment.get("request")
    recorded = request if isinstance(request, Mapping) else {}
    cases, all_cases = recorded.get("case_count"), recorded.get("full_case_count")
    others = all_cases - cases if isinstance(all_cases, int) and isinstance(cases, int) else 0
    return RequestInfo(
        baseline if isinstance(baseline, str) and baseline else BASELINE,
        margin if isinstance(margin, float) and 0 < margin <= 1 else MARGIN,
        _planned(environment, cases) if isinstance(cases, int) else 0,
        max(0, others),
    )


def _planned(environment: Mapping[str, Any], cases: int) -> int:
    """Return the number of cases of all machines; each may record its own number."""
    requests = (one.get("request") for one in machines(environment).values())
    counts = (one.get("case_count") if isinstance(one, Mapping) else None for one in requests)
    return sum(count if isinstance(count, int) else cases for count in counts)

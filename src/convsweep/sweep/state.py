"""Cases that are not measured again: known, failed, or predicted to take too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convsweep.backends.base import Backend
from convsweep.measure.gate import min_calls
from convsweep.measure.outcome import Outcome
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.sweep.forecast import Predictor
from convsweep.sweep.stopping import PassResults


class SweepState:
    """Known, settled and predicted outcomes of the cases."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        settings: Settings,
        known: PassResults,
        skipped: Mapping[Case, Outcome],
    ) -> None:
        self._settings, self._known, self._backends = settings, known, backends
        self._settled = dict(skipped)
        self._predictor = Predictor()
        for (_, case), outcome in known.items():
            self.observe(case, outcome)

    def split_pending(
        self, pass_index: int, group: Sequence[Case]
    ) -> tuple[list[tuple[Case, Outcome]], list[Case]]:
        """Return the settled cases of a group, and those to measure; without known results."""
        cases = [case for case in group if (pass_index, case) not in self._known]
        for case in cases:
            if case not in self._settled and (
                timeout := predicted_timeout(case, self._predictor, self._settings)
            ):
                self._settled[case] = timeout
        settled = [(case, self._settled[case]) for case in cases if case in self._settled]
        return settled, [case for case in cases if case not in self._settled]

    def observe(self, case: Case, outcome: Outcome) -> None:
        """Keep the call time for predictions; settle a case that failed."""
        if outcome.status != "ok":
            self._settled[case] = outcome
        if outcome.median_s is not None:
            self._predictor.observe(case, outcome.median_s)
        elif outcome.first_call_s is not None:
            compile_s = self._backends[case.backend].compile_s
            self._predictor.observe(case, outcome.first_call_s - compile_s)


def predicted_timeout(case: Case, predictor: Predictor, settings: Settings) -> Outcome | None:
    """Return `timeout` if the case exceeds its limit at the best rate of smaller cases."""
    found = predictor.min_call_s(case)
    needed = min_calls(settings.effort)
    if found is None or needed * found[0] <= settings.case_timeout_s:
        return None
    call_s, smaller = found
    return Outcome(
        "timeout",
        f"predicted from {smaller.problem.label}: {needed} calls of at least {call_s:.3g} s each "
        f"exceed the limit of {settings.case_timeout_s:g} s",
    )

"""Section on int8: error and speed beside the same engines in float32."""

from convsweep import formatting
from convsweep.analysis.estimates import estimate, interval
from convsweep.analysis.quantized import read_quantized
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.summary_text import quantized_sentence
from convsweep.report.table import Table

_NOTE = (
    "Quantising is timed. Scales are per output channel of the weights and per tensor of "
    "activations, and fit normal inputs."
)


def section(run: Run) -> Section | None:
    """Return the section, with one row per setting, layer and int8 backend; None without any."""
    heads = ("setting", "layer", "int8 backend", run.baseline, "engine in float32", "in int8",
             "int8 over float32 (95 %)", "SQNR, dB", "relative error")  # fmt: skip
    rows = [
        (case.setting, case.label, case.backend,
         *(formatting.time(*one) for one in (case.baseline_time, case.float_time, case.time)),
         formatting.speedup(*interval(estimate(case.log_speedups))),
         formatting.digits(case.sqnr_db), formatting.error(case.relative_err))
        for case in read_quantized(run)
    ]  # fmt: skip
    if not rows:
        return None
    [sentence] = quantized_sentence(run)
    table = Table.by_setting(heads, rows, heads[3:])
    return Section("int8 beside float32", sentence, [("", table)], note=_NOTE)

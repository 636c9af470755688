"""Parts of `convsweep explain` against the whole call.

    python -m bench.harness.call_parts

Explains calls of 60 of ConvBench's problems, in two layouts, and prints how far the parts are from
the whole: the median and the worst case per backend and layout. It takes about ten minutes per
backend. Folders that exist are not measured again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pandas as pd

from convsweep import formatting
from convsweep.problems.workloads import CONVBENCH, workloads
from convsweep.report.table import Table
from convsweep.report.tables import markdown
from convsweep.results.call_parts import CALL_PARTS, FIXED, UNATTRIBUTED, WHOLE

EVERY = 5
SETTINGS = ("--memory-format", "contiguous", "--memory-format", "channels_last")
KEYS = ["backend", "memory_format"]


@click.command()
@click.option("--backend", "backends", multiple=True, default=("torch_conv",))
@click.option("--passes", default=3)
@click.option("--every", default=EVERY, help="Take one in so many problems of each kind.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/call-parts"))
def main(backends: tuple[str, ...], passes: int, every: int, out: Path) -> None:
    """Print the difference between the parts and the whole call."""
    kinds: dict[str, list[str]] = {}
    for layer in workloads()[CONVBENCH]:
        kinds.setdefault(str(layer.name).partition(".")[0], []).append(str(layer.name))
    names = [name for own in kinds.values() for name in own[::every]]
    words = [word for name in backends for word in ("--backend", name)]
    for name in names:
        if not (folder := out / name).exists():
            command = [sys.executable, "-m", "convsweep", "explain", "--workload", CONVBENCH]
            command += ["--layer", name, *SETTINGS, *words, "--passes", str(passes)]
            subprocess.run([*command, "--out", str(folder)], stdout=subprocess.DEVNULL, check=False)
    files = {name: out / name / CALL_PARTS for name in names}
    read = {name: pd.read_csv(file) for name, file in files.items() if file.exists()}
    rows = pd.concat(read, names=["layer"]).reset_index("layer")
    parts = rows[rows["status"] == "ok"].pivot_table("seconds", ["layer", *KEYS], "part")
    rest = parts[UNATTRIBUTED] / parts[WHOLE]
    cells = []
    for key, own in rest.groupby(KEYS):
        middle, worst = own.abs().median(), own.loc[own.abs().idxmax()]
        known = parts.loc[own.index, FIXED].notna().mean()
        cells.append((*key, str(len(own)), formatting.percent(middle), formatting.percent(worst),
                      str(own.abs().idxmax()[0]), formatting.percent(known)))  # fmt: skip
    heads = (*KEYS, "calls", "median difference", "worst", "of", "fixed cost known")
    click.echo(markdown(Table(heads, cells)))
    click.echo(f"\n{len(read)} of {len(names)} problems; differences are shares of the whole call.")


if __name__ == "__main__":
    main()

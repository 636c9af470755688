"""Mutation trials: run folders with one seeded change, read by every command that reads runs.

    python -m bench.harness.mutations --times 1000 --out results/harness

Each mutation records whether a reader can know of the change. A forged checksum over a plausible
number, and a missing optional value, can't be known.
"""

from __future__ import annotations

import csv
import io
import random
import shutil
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click

from convsweep import cli
from convsweep.report import plots
from convsweep.results.csv_table import columns_of
from convsweep.results.schema import COLUMNS, Row
from convsweep.results.store import ENVIRONMENT, MEASUREMENTS, read_environment, write_environment
from tests.support import synthetic_runs

FILE = "mutations.csv"
SEED = 20261129
_REFUSED = 2
_HOSTILE = ("nan", "inf", "-1", "1e300", "9" * 30, "")
_ERRORS = ("max_abs_err", "error_ratio", "relative_err")
_REQUEST = {
    "name": "quick", "shard": None, "full_request_hash": "0", "full_case_count": 20,
    "case_count": 20, "dtypes": ["float32"], "memory_formats": ["contiguous"], "threads": [1],
    "caches": ["hot"], "weight_kinds": ["dense", "separable"],
}  # fmt: skip
_COMMANDS = {
    "report": "report {run} --out {new}",
    "best": "best {run}",
    "compare, new": "compare {whole} {run}",
    "compare, old": "compare {run} {whole}",
    "export csv": "export {run} --format csv",
    "export json": "export {run} --format pytest-benchmark",
    "merge": "merge {run} {whole} --out {new}",
}
_WRONG: tuple[Any, ...] = (3, -1, True, [1, "x"], {"x": [1]}, None, "", 1.5)


@dataclass(frozen=True)
class Mutation:
    """One changed run and how the commands ended."""

    kind: str
    change: str
    known: bool
    """Whether a reader can know of the change."""
    refused: int
    """Number of commands that ended with exit code 2."""
    accepted: str
    tracebacks: str


def whole_run(folder: Path) -> Path:
    """Write the run that is mutated: two passes that came to their end."""
    problems = synthetic_runs.grid((4, 16), (7,), (1, 3))
    rows = synthetic_runs.with_ceilings(synthetic_runs.rows(problems, passes=2))
    ending = {"request": _REQUEST, "margin": 0.02, "end_reason": "all_passes", "rows": len(rows)}
    return synthetic_runs.write(folder, rows, synthetic_runs.ENVIRONMENT | ending)


def _flip_bit(rng: random.Random, run: Path) -> tuple[str, bool]:
    path = run / MEASUREMENTS
    content = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bit {bit}", True


def _change_lines(rng: random.Random, run: Path) -> tuple[str, bool]:
    path = run / MEASUREMENTS
    head, *lines = path.read_bytes().splitlines(keepends=True)
    place, other = rng.sample(range(len(lines)), 2)
    how = rng.choice(("delete", "copy", "copy over", "swap"))
    if how == "delete":
        del lines[place]
    elif how == "copy":
        lines.insert(other, lines[place])
    elif how == "copy over":
        lines[other] = lines[place]
    else:
        lines[place], lines[other] = lines[other], lines[place]
    path.write_bytes(head + b"".join(lines))
    return f"{how} {place} {other}", how != "swap"


def _forge_cell(rng: random.Random, run: Path) -> tuple[str, bool]:
    """Change one number and forge the checksum of its line."""
    path = run / MEASUREMENTS
    head, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = rng.randrange(len(lines))
    [cells] = csv.reader([lines[place].rpartition(",")[0]])
    numbers = [column for column in columns_of(Row) if column.type in (int, float)]
    column = rng.choice(numbers)
    index, cell = COLUMNS.index(column.name), rng.choice(_HOSTILE)
    before, cells[index] = cells[index], cell
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="").writerow(cells)
    text = written.getvalue()
    lines[place] = f"{text},{zlib.crc32(text.encode()):08x}\n"
    path.write_text(head + "".join(lines), encoding="utf-8", newline="")
    optional = cell == "" and not column.required and column.name != "median_s"
    missing = cell == "" and before == ""
    error = cell in ("inf", "1e300", "9" * 30) and column.name in _ERRORS
    known = not (optional or missing or error)
    return f"line {place}, {column.name}: {before!r} to {cell!r}", known


def _change_environment(rng: random.Random, run: Path) -> tuple[str, bool]:
    """Remove a key, or give it a value of another type."""
    environment = read_environment(run)
    part = environment if rng.random() < 0.5 else environment["request"]
    key = rng.choice([*part])
    if rng.random() < 0.2:
        del part[key]
        write_environment(run, environment)
        return f"no {key}", False
    before, part[key] = part[key], rng.choice(_WRONG)
    write_environment(run, environment)
    return f"{key}: {part[key]!r}", not _same_type(before, part[key])


def _same_type(before: object, now: object) -> bool:
    """Return whether the value could be that of another run."""
    if before is None or now is None:  # `commit`, `shard` and `end_reason` may be missing
        return now is None or isinstance(now, str)
    return type(before) is type(now) and now != -1 and now != [1, "x"]


def _damage_files(rng: random.Random, run: Path) -> tuple[str, bool]:
    path = run / rng.choice((MEASUREMENTS, ENVIRONMENT))
    if rng.random() < 0.3:
        path.unlink()
        path.mkdir()
        return f"{path.name} is a folder", True
    content = path.read_bytes()
    length = rng.randrange(len(content) - 2)
    path.write_bytes(content[:length])
    return f"{path.name} ends at {length}", True


KINDS: dict[str, Callable[[random.Random, Path], tuple[str, bool]]] = {
    "bit": _flip_bit,
    "lines": _change_lines,
    "cell": _forge_cell,
    "environment": _change_environment,
    "file": _damage_files,
}


def ending(words: list[str]) -> int | str:
    """Return the exit code of a command, or the name of an exception that it did not catch."""
    sys.argv = ["convsweep", *words]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main(words)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def mutations(times: int, seed: int, folder: Path) -> Iterator[Mutation]:
    """Yield the outcomes of as many mutations; kinds take turns."""
    rng, whole = random.Random(seed), whole_run(folder / "whole")
    for number in range(times):
        kind = [*KINDS][number % len(KINDS)]
        run, new = folder / "run", folder / "new"
        shutil.copytree(whole, run)
        change, known = KINDS[kind](rng, run)
        endings = {}
        for name, line in _COMMANDS.items():
            endings[name] = ending(line.format(run=run, whole=whole, new=new).split())
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(run)
        yield Mutation(
            kind,
            change,
            known,
            sum(code == _REFUSED for code in endings.values()),
            "; ".join(name for name, code in endings.items() if code in (0, 1, 3)),
            "; ".join(f"{name}: {one}" for name, one in endings.items() if isinstance(one, str)),
        )


def totals_line(found: list[Mutation]) -> str:
    """Return the totals in one line."""
    passed = Counter(one.kind for one in found if not one.known and one.accepted)
    return (
        f"{len(found)} mutations times {len(_COMMANDS)} commands: "
        f"tracebacks {sum(bool(one.tracebacks) for one in found)}, "
        f"silent acceptances {sum(one.known and bool(one.accepted) for one in found)}; "
        f"accepted changes that no reader can know: {dict(passed)}"
    )


@click.command()
@click.option("--times", metavar="N", type=click.IntRange(1), default=1000)
@click.option("--seed", metavar="N", type=int, default=SEED)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
def main(times: int, seed: int, out: Path) -> None:
    """Mutate runs and read them with every command."""
    out.mkdir(parents=True, exist_ok=True)
    found = []
    plots.figures = lambda run: []  # type: ignore[assignment]  # they take most of the time
    with (
        tempfile.TemporaryDirectory(prefix="harness-") as name,
        (out / FILE).open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [one.name for one in fields(Mutation)], lineterminator="\n")
        writer.writeheader()
        for one in mutations(times, seed, Path(name)):
            writer.writerow(asdict(one))
            file.flush()
            found.append(one)
    click.echo(totals_line(found))


if __name__ == "__main__":
    main()

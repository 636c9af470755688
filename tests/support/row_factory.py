"""A row, and how the tests of the store write, damage and read files of rows."""

import csv
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.results.checksummed_csv import CHECKSUM
from convsweep.results.csv_table import TableWriter
from convsweep.results.schema import COLUMNS, MEASUREMENTS_TABLE, Row
from convsweep.results.store import MEASUREMENTS, load

ROW = Row(
    run_id="a-run",
    pass_index=0,
    started_at="2026-11-22T10:00:00.000+00:00",
    environment_id="e0",
    problem="n1_ci4_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1_b0",
    batch_size=1,
    in_channels=4,
    out_channels=4,
    input_size="5x5",
    kernel_size="3x3",
    stride="1x1",
    padding="1x1",
    dilation="1x1",
    groups=1,
    bias=False,
    weight_kind="separable",
    backend="loop",
    device="cpu",
    dtype="float32",
    memory_format="contiguous",
    threads=1,
    status="ok",
    median_s=1.2345e-05,
    macs=3600,
    min_bytes=1376,
)

VARIED = [
    ROW,
    replace(
        ROW,
        backend="im2col",
        reason='over\ntwo lines, with "quotes"',
        load_avg_1m=0.5,
        layer_count=7,
    ),
    replace(
        ROW,
        pass_index=1,
        status="skipped",
        median_s=None,
        reason="needs 1, 2 and 3",
        sample_flags="drift",
    ),
    replace(ROW, layer="β", reason="ends\n", median_s=0.1 + 0.2, cache="cold"),
]


def write(run_dir: Path, rows: Sequence[Row]) -> Path:
    measurements = MEASUREMENTS_TABLE.open(run_dir)
    for row in rows:
        measurements.append(row)
    measurements.close()
    return run_dir


def load_rows(run_dir: Path) -> list[Row]:
    """Return the rows of a run; missing cells are None."""
    return MEASUREMENTS_TABLE.rows_of(load(run_dir))


def completed_rows(run_dir: Path) -> list[Row]:
    """Return the rows that a resumed run keeps."""
    return MEASUREMENTS_TABLE.rows_of(MEASUREMENTS_TABLE.load_completed(run_dir).rows)


def resumed(run_dir: Path) -> TableWriter[Row]:
    """Open the rows of a run to append to them."""
    return MEASUREMENTS_TABLE.open(run_dir, MEASUREMENTS_TABLE.load_completed(run_dir))


def write_text(run_dir: Path, content: str | bytes) -> Path:
    run_dir.mkdir(exist_ok=True)
    raw = content if isinstance(content, bytes) else content.encode()
    (run_dir / MEASUREMENTS).write_bytes(raw)
    return run_dir


def cells(row: Row) -> dict[str, str]:
    """A row as the file spells it, by column."""
    return {name: "" if (value := getattr(row, name)) is None else str(value) for name in COLUMNS}


def line(values: Sequence[str]) -> str:
    """One line of the file, as another program would write it."""
    written = io.StringIO(newline="")
    csv.writer(written).writerow(values)
    text = written.getvalue().removesuffix("\r\n")
    return f"{text},{zlib.crc32(text.encode()):08x}\n"


def text_of(*rows: dict[str, str], columns: Sequence[str] = COLUMNS) -> str:
    """A whole file of these columns, its checksums true whatever its cells hold."""
    head = ",".join([*columns, CHECKSUM]) + "\n"
    return head + "".join(line([row.get(name, "mine") for name in columns]) for row in rows)


def version_5_text() -> str:
    """A whole file of the schema before this one, which had other columns."""
    columns = ["count" if name == "layer_count" else name for name in COLUMNS if name != "role"]
    return text_of(cells(ROW) | {"schema_version": "5", "count": "1"}, columns=columns)


def refusal(run_dir: Path) -> str:
    """Why the run can't be loaded, in one line that names it."""
    with pytest.raises(ValueError, match=r".") as raised:
        load(run_dir)
    message = str(raised.value)
    assert message.isprintable()
    assert str(run_dir) in message
    return message

"""One problem in many settings: measured in the same pass, compared with the first."""

import os
from pathlib import Path

import pandas as pd
import pytest

import convsweep
from convsweep.sweep.executor import LocalExecutor
from convsweep.sweep.request import Options, read_request
from convsweep.sweep.session import run_sweep


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_every_setting_is_gated_timed_and_compared_with_the_first(tmp_path: Path) -> None:
    request = read_request(
        Options(
            axes=["in_channels=4", "size=6", "kernel_size=1", "batch_size=1,2"],
            backends=["torch_conv"],
            dtypes=["float32", "bfloat16"],
            threads=[1, 2],
            caches=["hot", "cold"],
            passes=2,
            ceilings=False,
        )
    )
    out = tmp_path / "run"
    run_sweep(LocalExecutor(request), out, "run", "convsweep run", lambda progress: None)
    rows = convsweep.load(out)
    assert len(rows) == 2 * len(request.cases) == 2 * 16
    assert (rows["status"] == "ok").all()
    summary = pd.read_csv(out / "summary.csv")
    [first] = summary[summary["setting_verdict"] == "baseline"].to_dict("records")
    assert (first["dtype"], first["threads"], first["cache"]) == ("float32", 1, "hot")
    assert first["batch_size"] == 1
    per_image = summary["time_s"] / summary["batch_size"]
    own = summary["setting_speedup"].to_numpy()
    assert own == pytest.approx((first["time_s"] / per_image).to_numpy())

"""A sweep over the CPU and an accelerator, from request to report."""

from pathlib import Path

import pytest

import convsweep
from convsweep.report.build import write_report
from convsweep.sweep.executor import LocalExecutor
from convsweep.sweep.request import Options, read_request
from convsweep.sweep.session import run_sweep
from convsweep.system.devices import device_names

ACCELERATORS = [name for name in device_names() if name != "cpu"]

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(
        not ACCELERATORS,
        reason="no accelerator: needs CUDA, or the extra vulkan and Debian's mesa-vulkan-drivers",
    ),
]


def test_both_devices_are_gated_timed_and_reported(tmp_path: Path) -> None:
    request = read_request(
        Options(
            axes=["in_channels=4", "size=6", "kernel_size=1,3"],
            devices=["cpu", ACCELERATORS[0]],
            passes=2,
            case_timeout="5s",
            ceilings=False,
        )
    )
    out = tmp_path / "run"
    run_sweep(LocalExecutor(request), out, "run", "convsweep run", lambda progress: None)
    rows = convsweep.load(out)
    for device in ("cpu", ACCELERATORS[0]):
        ok = rows[(rows["device"] == device) & (rows["status"] == "ok")]
        assert set(ok["backend"]) >= {"im2col", "pointwise", "torch_conv", "separable"}
        assert (ok["error_ratio"] < 10).all()
        assert (ok["median_s"] > 0).all()
    page = write_report(out, tmp_path / "report").read_text(encoding="utf-8")
    assert ACCELERATORS[0] in page

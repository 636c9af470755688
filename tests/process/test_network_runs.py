"""A user's network in a real worker process."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from convsweep import ConvProblem
from convsweep.measure.messages import NetworkTimes
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.results.networks import BACKWARD, CONVOLUTION
from convsweep.sweep.network_runs import Network, time_once
from convsweep.sweep.overhead import OverheadProfile
from convsweep.sweep.worker_pool import WorkerProcess


def test_a_users_network_is_timed_in_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
        "def classes(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), "
        "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000))\n"
        "def broken(): raise RuntimeError('no weights')\n"
    )
    how = (((1, 3, 8, 8),), "cpu", "float32", "contiguous", 1)
    small = Network("small", f"{tmp_path / 'nets.py'}:small", *how)
    profile = OverheadProfile()
    found = time_once(small, Settings(), 0, profile.launch)
    assert isinstance(found, NetworkTimes)
    assert [(part.kind, part.problem) for part in found.parts] == [
        (CONVOLUTION, ConvProblem(3, 4, (8, 8), 3, bias=True)),
        ("activation", None),
    ]
    assert 0 < sum(part.total_s for part in found.parts) <= found.instrumented_s
    training = replace(small, maker=f"{tmp_path / 'nets.py'}:classes", direction="training")
    step = time_once(training, Settings(), 0, WorkerProcess)
    assert isinstance(step, NetworkTimes)
    kinds = Counter(part.kind for part in step.parts)
    assert kinds[CONVOLUTION] == kinds[BACKWARD + CONVOLUTION] == kinds["optimizer"] == 1
    broken = Network("broken", f"{tmp_path / 'nets.py'}:broken", *how)
    counted = profile.figures({"networks_s": 1.0, "wall_s": 2.0})
    assert {phase for phase, one in counted.items() if one["messages"]} == {"networks"}
    failed = time_once(broken, Settings(), 0, WorkerProcess)
    assert isinstance(failed, Outcome)
    assert failed.status == "error"
    assert "no weights" in str(failed.reason)

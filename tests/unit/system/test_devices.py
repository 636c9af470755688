"""Clocks count the work, not its launch: on fake devices, and on a real one where there is one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import conv2d

from convsweep.system import devices
from convsweep.system import peak_memory as memory
from convsweep.system.devices import (
    Device,
    device_names,
    event_clock,
    find_device,
    flusher,
    has_events,
    host_clock,
)

pytestmark = pytest.mark.device

LAUNCH_S, WORK_S = 1e-4, 0.25


@dataclass
class FakeDevice:
    """A device that takes work at once and finishes it later; its host's clock reads `now_s`."""

    now_s: float = 0.0
    busy_until_s: float = 0.0
    marks: list[float] = field(default_factory=list)

    def launch(self) -> None:
        self.now_s += LAUNCH_S
        self.busy_until_s = max(self.now_s, self.busy_until_s) + WORK_S

    def synchronize(self) -> None:
        self.now_s = max(self.now_s, self.busy_until_s)

    def event(self) -> "FakeEvent":
        return FakeEvent(self)


@dataclass
class FakeEvent:
    device: FakeDevice
    at_s: float = float("nan")

    def record(self) -> None:
        self.at_s = max(self.device.now_s, self.device.busy_until_s)

    def synchronize(self) -> None:
        self.device.now_s = max(self.device.now_s, self.at_s)

    def elapsed_time(self, end: "FakeEvent") -> float:
        return (end.at_s - self.at_s) * 1e3


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    made = FakeDevice()
    monkeypatch.setattr(devices, "perf_counter_ns", lambda: round(made.now_s * 1e9))
    return made


def test_the_host_clock_waits_for_the_work(fake: FakeDevice) -> None:
    seconds = host_clock(fake.synchronize)(fake.launch)
    assert seconds == pytest.approx(LAUNCH_S + WORK_S)


def test_a_clock_that_forgets_to_wait_reads_the_launch_alone(fake: FakeDevice) -> None:
    seconds = host_clock(lambda: None)(fake.launch)
    assert seconds == pytest.approx(LAUNCH_S)


def test_work_queued_before_is_not_counted(fake: FakeDevice) -> None:
    fake.launch()
    assert host_clock(fake.synchronize)(fake.launch) == pytest.approx(LAUNCH_S + WORK_S)


def test_events_time_the_device(fake: FakeDevice) -> None:
    seconds = event_clock(fake.event, fake.synchronize)(fake.launch)
    assert seconds == pytest.approx(WORK_S, rel=2e-3)


def test_many_launches_are_timed_to_the_end_of_the_last(fake: FakeDevice) -> None:
    def four() -> None:
        for _ in range(4):
            fake.launch()

    for clock in (host_clock(fake.synchronize), event_clock(fake.event, fake.synchronize)):
        assert clock(four) == pytest.approx(4 * WORK_S, rel=2e-3)


def test_a_device_without_timed_events_is_found_out(fake: FakeDevice) -> None:
    def no_event() -> FakeEvent:
        raise RuntimeError("Backend doesn't support events.")

    assert has_events(fake.event)
    assert not has_events(no_event)


def test_a_clocks_overhead_is_a_reading_of_no_work(fake: FakeDevice) -> None:
    def synchronize() -> None:
        fake.now_s += 2e-6

    costly = Device("fake", "a fake", synchronize, host_clock(synchronize), 4, flusher("cpu", 4))
    assert costly.clock_overhead_s == pytest.approx(2e-6, rel=1e-3)


def test_the_cpu_is_always_there() -> None:
    assert "cpu" in device_names()
    assert find_device("cpu").description


def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"'tpu' .* cpu"):
        find_device("tpu")


@pytest.mark.parametrize("name", ["cuda:1", "mps", "xpu", "vulkan", "npu", ""])
def test_a_device_is_refused_before_torch_is_imported_only_if_torch_cannot_have_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(devices, "device_names", lambda: [*filter(asked.append, [name]), "cpu"])
    monkeypatch.setattr(devices, "entry_points", lambda group: [])
    monkeypatch.setattr(devices, "sys", SimpleNamespace(modules={}))
    with pytest.raises(ValueError, match=repr(name)):
        find_device(name)
    assert bool(asked) == (name not in ("npu", ""))
    monkeypatch.setattr(devices, "entry_points", lambda group: [group])
    with pytest.raises(ValueError, match="not on this machine"):
        find_device(name)


def test_full_precision_turns_tf32_off_everywhere() -> None:
    devices.use_full_precision()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_where_the_system_does_not_tell_there_is_no_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory._is_supported.cache_clear()
    monkeypatch.setattr(memory, "_RESET", tmp_path / "none" / "clear_refs")
    called: list[None] = []
    assert memory.peak_of(lambda: called.append(None)) is None
    assert not called
    memory._is_supported.cache_clear()


# From here on, on an accelerator of this machine: `vulkan` runs in software where it is installed.

ACCELERATORS = [name for name in device_names() if name != "cpu"]

on_an_accelerator = pytest.mark.skipif(
    not ACCELERATORS,
    reason="no accelerator: needs CUDA, or the extra vulkan and Debian's mesa-vulkan-drivers",
)


def convolution(name: str) -> Callable[[], torch.Tensor]:
    x, w = torch.ones(1, 32, 28, 28).to(name), torch.ones(32, 32, 3, 3).to(name)
    return lambda: conv2d(x, w)


@on_an_accelerator
def test_a_real_device_is_timed_to_the_end_of_its_work() -> None:
    device = find_device(ACCELERATORS[0])
    call = convolution(device.name)
    device.clock(call)
    waited = device.clock(call)
    launched = host_clock(lambda: None)(call)
    device.synchronize()
    assert waited > 3 * launched, "the clock reads the launch alone: a missing synchronise"


@on_an_accelerator
def test_a_real_device_tells_its_name_and_memory() -> None:
    device = find_device(ACCELERATORS[0])
    assert device.description
    y = convolution(device.name)()
    assert device.peak_memory(convolution(device.name)) in (
        None,
        pytest.approx(y.nbytes, abs=2**26),
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_times_with_events_as_with_the_host_clock() -> None:
    device = find_device("cuda")
    call = convolution("cuda")

    def thousand() -> None:
        for _ in range(1000):
            call()

    device.clock(thousand)
    by_event, by_host = device.clock(thousand), host_clock(device.synchronize)(thousand)
    assert by_event == pytest.approx(by_host, rel=0.5)


@pytest.mark.parametrize("name", device_names())
def test_a_flush_reads_and_writes_twice_what_the_caches_hold(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.Tensor] = []
    zeros = torch.zeros

    def remembered(*size: int, **how: object) -> torch.Tensor:
        made.append(zeros(*size, **how))
        return made[-1]

    monkeypatch.setattr(torch, "zeros", remembered)
    flush = flusher(name, 4096)
    assert not made  # nothing is taken before it is needed
    flush()
    flush()
    (buffer,) = made
    assert buffer.nbytes == 2 * 4096
    assert buffer.device.type == name.partition(":")[0]
    assert (buffer.cpu() == 2).all()

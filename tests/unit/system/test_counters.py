"""Counts are those of all threads, per call; what cannot be read is empty and has a reason."""

from contextlib import closing
from mmap import mmap
from pathlib import Path
from threading import Thread
from time import thread_time_ns

import pytest

from convsweep.system.counters import ZERO, Counters, Counts

SOFTWARE, TASK_CLOCK, PAGE_FAULTS, DUMMY = 1, 1, 2, 9  # PERF_TYPE_SOFTWARE, three of its events


def package(folder: Path, name: str, microjoules: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text(name, encoding="utf-8")
    (folder / "energy_uj").write_text(str(microjoules), encoding="utf-8")
    return folder / "energy_uj"


def test_energy_is_that_of_all_packages_and_empty_if_a_counter_starts_anew(tmp_path: Path) -> None:
    first = package(tmp_path / "intel-rapl:0", "package-0", 3_000_000)
    package(tmp_path / "intel-rapl:1", "package-1", 500_000)
    package(tmp_path / "intel-rapl:0:0", "core", 70_000_000)  # part of its package
    with closing(Counters(powercap=tmp_path)) as counters:
        assert counters.status["energy_j"] == "readable"
        before = counters.read()
        assert before.energy_j == 3.5
        first.write_text("4000000", encoding="utf-8")
        assert ZERO.add(before, counters.read()).columns(4)["energy_j_per_call"] == 0.25
        first.write_text("12", encoding="utf-8")
        assert ZERO.add(before, counters.read()).columns(4)["energy_j_per_call"] is None


def test_what_cannot_be_read_is_empty_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0", encoding="utf-8")
    for powercap in (tmp_path / "missing", tmp_path):
        with closing(Counters((99, {"cycles": 0}), powercap)) as counters:
            assert counters.status.keys() == {"cycles", "energy_j"}
            assert "readable" not in counters.status.values()
            counts = ZERO.add(counters.read(), counters.read())
            assert counts[2:] == (None,) * 4
            assert set(counts.columns(1).values()) >= {None}


def test_counts_per_call_are_never_made_up() -> None:
    assert Counts(6, 2, 8).columns(2) == {
        "context_switches": 2, "page_faults_per_call": 3, "cycles_per_call": 4,
        "instructions_per_call": None, "cache_misses_per_call": None, "energy_j_per_call": None,
    }  # fmt: skip


def test_threads_that_start_later_count() -> None:
    with closing(Counters((SOFTWARE, {"cycles": TASK_CLOCK}))) as counters:
        if (reason := counters.status["cycles"]) != "readable":
            pytest.skip(reason)
        before, used_ns = counters.read(), []

        def work() -> None:
            sum(range(300_000))
            used_ns.append(thread_time_ns())

        threads = [Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cycles = ZERO.add(before, counters.read()).cycles
        assert cycles is not None
        assert cycles > 0.9 * sum(used_ns)


def test_the_kernels_counter_agrees_with_that_of_the_process() -> None:
    events = {"cycles": TASK_CLOCK, "cache_misses": PAGE_FAULTS}
    with closing(Counters((SOFTWARE, events))) as counters, mmap(-1, 2**25) as memory:
        if (reason := counters.status["cache_misses"]) != "readable":
            pytest.skip(reason)
        before = counters.read()
        memory.write(bytes(len(memory)))  # an allocator may reuse memory, which faults no more
        found = ZERO.add(before, counters.read())
        assert found.page_faults
        assert found.cache_misses == pytest.approx(found.page_faults, rel=0.1, abs=20)


def test_a_counter_that_stays_0_is_not_readable() -> None:
    with closing(Counters((SOFTWARE, {"cycles": DUMMY, "instructions": TASK_CLOCK}))) as counters:
        assert "readable" not in list(counters.status.values())[:2]
        assert counters.read()[2:4] == (None, None)


def test_hardware_counters_of_this_machine() -> None:
    with closing(Counters()) as counters:
        if (reason := counters.status["cycles"]) != "readable":
            pytest.skip(reason)
        before = counters.read()
        sum(range(100_000))
        assert ZERO.add(before, counters.read()).cycles

"""Settings of a worker process."""

from dataclasses import dataclass, field

from convsweep.measure.sampling import MeasurementConfig


@dataclass(frozen=True)
class Settings:
    """Settings of a worker process, fixed when it starts."""

    threads: int = 1
    seed: int = 0
    pass_index: int = 0
    is_last_pass: bool = False  # then nothing is kept for later ones
    peak_memory: bool = True  # whether this pass measures the peak memory of each case
    trace: bool = True  # whether the first pass finds what each case runs
    case_timeout_s: float = 10.0
    effort: MeasurementConfig | None = field(default_factory=MeasurementConfig)
    """None: the gate only, no timing; it then checks whole numbers too."""
    fast_check: bool = False
    """Whether outputs are checked by projection if that is cheaper than a full reference."""
    allocator: str = "retain"
    memory_limit_bytes: int | None = None  # most memory of the process; None: no limit
    cores: tuple[int, ...] | None = None
    """Cores that the process may use, its threads on the last ones; None: all allowed cores."""

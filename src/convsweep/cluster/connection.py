"""Connection to a running cluster, or to one that is started on this machine."""

import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from time import monotonic

from convsweep.cluster.address import Address, require_joinable
from convsweep.cluster.cores import staying_on
from convsweep.cluster.local_cluster import FAILED
from convsweep.cluster.pool import Pool
from convsweep.descriptors import redirected
from convsweep.formatting import one_line
from convsweep.system.forkserver import set_variables

_QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all addresses are of the loopback device
    "RAY_NUM_REDIS_GET_RETRIES": "2",  # attempts to join, of half a minute each
    "RAY_worker_niceness": "0",  # 15 by default, which slows worker processes down
    "RAY_enable_metrics_collection": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # worker processes have their own limits
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
_WAIT_S, _START_LIMIT_S = 10.0, 300.0


@contextmanager
def connected(
    address: Address, threads: int, on_wait: Callable[[str], None] = lambda awaited: None
) -> Iterator[Pool]:
    """Yield the slots of a cluster. A local one keeps off the last `threads` cores.

    `on_wait` is called at once and every ten seconds. Raises `ValueError` if the cluster cannot be
    joined or started.
    """
    own = {**_QUIET, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    if not address.local_nodes:
        on_wait(f"the Ray cluster {address.text}")
        with set_variables(own):
            require_joinable(address)
            with _joined(address.text) as pool:
                yield pool
        return
    # Its own token keeps other processes out.
    own |= _LOCAL | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    off_last_cores = staying_on(cores[:-threads] or cores)
    with set_variables(own), off_last_cores, _started(address.local_nodes, on_wait) as pool:
        yield pool


@contextmanager
def _started(nodes: int, on_wait: Callable[[str], None]) -> Iterator[Pool]:
    """Start nodes on this machine, one slot each; they end with this process in any case."""
    on_wait("Ray to start on this machine")
    short = "/tmp" if Path("/tmp").is_dir() else None  # socket names have at most 107 bytes
    folder = tempfile.mkdtemp(prefix="convsweep-ray-", dir=short)
    cluster = subprocess.Popen(
        [sys.executable, "-m", "convsweep.cluster.local_cluster", str(nodes), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    started_s = monotonic()
    try:
        while not connection.wait([cluster.stdout.fileno()], _WAIT_S):
            on_wait("Ray to start on this machine")
            if monotonic() - started_s > _START_LIMIT_S:
                raise ValueError(f"Ray does not start on this machine within {_START_LIMIT_S:g} s")
        line = cluster.stdout.readline().strip()
        if not line or line.startswith(FAILED):
            reason = line.removeprefix(FAILED) or "its process died"
            raise ValueError(f"Ray cannot start {nodes} nodes on this machine: {reason}")
        with _joined(line) as pool:
            yield pool
    finally:
        cluster.stdin.close()
        cluster.wait()
        cluster.stdout.close()


@contextmanager
def _joined(address: str) -> Iterator[Pool]:
    import ray

    try:
        with Path(os.devnull).open("wb") as null, redirected(2, null.fileno()):  # Ray logs there
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, SystemExit) as error:
        reason, *_ = one_line(str(error)).partition(". ")
        raise ValueError(f"no connection to Ray at {address}: {reason}") from None
    try:
        yield Pool()
    finally:
        ray.shutdown()

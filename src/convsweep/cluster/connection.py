"""Joining a running cluster, or starting one on this machine and ending it without a trace."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from convsweep.cluster.address import Address
from convsweep.cluster.connection_check import require_joinable
from convsweep.cluster.cores import staying_on
from convsweep.cluster.local_cluster import FAILED
from convsweep.cluster.pool import Pool, RayPool
from convsweep.formatting import one_line
from convsweep.system.forkserver import set_variables

_QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_LOCAL = {
    "RAY_worker_niceness": "0",  # 15 by default: measuring processes would give way to all else
    "RAY_enable_metrics_collection": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # measuring processes have limits of their own
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@contextmanager
def connected(address: Address, threads: int) -> Iterator[Pool]:
    """The slots of a cluster; one that is started here stays off the last `threads` cores.

    Raises:
        ValueError: in one line, where there is no such cluster or it can't be joined.
    """
    own = {**_QUIET, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    if not address.local_nodes:
        with set_variables(own), _joined(address) as pool:
            yield pool
        return
    # A token of its own, so that nobody else's process joins this one.
    own |= _LOCAL | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with set_variables(own), _sparing(threads), _started(address.local_nodes) as pool:
        yield pool


@contextmanager
def _joined(address: Address) -> Iterator[Pool]:
    require_joinable(address)
    with ExitStack() as stack:
        try:
            stack.enter_context(_joined_at(address.text))
        except (ConnectionError, SystemExit) as error:
            raise ValueError(f"--ray {address.text!r}: {one_line(str(error))}") from None
        yield RayPool()


@contextmanager
def _started(nodes: int) -> Iterator[Pool]:
    """Nodes on this machine, each with a slot; they end with this process, however it ends."""
    short = "/tmp" if Path("/tmp").is_dir() else None  # names of sockets are 107 bytes at most
    folder = tempfile.mkdtemp(prefix="convsweep-ray-", dir=short)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "convsweep.cluster.local_cluster", str(nodes), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        said = keeper.stdout.readline().strip()
        if not said or said.startswith(FAILED):
            why = said.removeprefix(FAILED) or "its keeper died"
            raise ValueError(f"Ray could not start {nodes} nodes on this machine: {why}")
        with _joined_at(said):
            yield RayPool()
    finally:
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()


@contextmanager
def _joined_at(address: str) -> Iterator[None]:
    import ray

    with _unheard():
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _sparing(threads: int) -> Iterator[None]:
    """Within, what is started stays off the last cores, which the slots then take."""
    if hasattr(os, "sched_getaffinity"):
        rest = sorted(os.sched_getaffinity(0))[:-threads]
        if rest:
            with staying_on(rest):
                yield
            return
    yield


@contextmanager
def _unheard() -> Iterator[None]:
    """Within, nothing comes out at standard error: what Ray's own code logs there says nothing."""
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)

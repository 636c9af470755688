"""Cluster on this machine, which ends with the process that started it.

The program `python -m convsweep.cluster.local_cluster NODES FOLDER` starts the nodes, prints their
address in one line, and ends with its standard input. It adopts processes that Ray leaves behind,
and kills them, too.
"""

import logging
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from convsweep.cluster.pool import SLOT
from convsweep.descriptors import c_library
from convsweep.formatting import one_line

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_OBJECT_STORE_BYTES = 80 * 2**20  # the minimum of Ray
_WAIT_S = 5.0
FAILED = "failed: "  # Start of the line if there is no address


def main(nodes: int, folder: str) -> None:
    """Run nodes with one slot each, with their files in `folder`, until standard input ends.

    A child process starts them: once it is killed, nothing is started any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            c_library().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork() == 0:
        _start(nodes, folder)
        signal.pause()
    os.close(1)  # the reader sees the end of the child
    sys.stdin.read()
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_WAIT_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _start(nodes: int, folder: str) -> None:
    """Start the nodes, and print the address of the first one or why there is none."""
    logging.disable()
    os.environ["TMPDIR"] = folder
    Path(folder, "ray").mkdir(parents=True, exist_ok=True)  # Ray writes its address there
    from ray.cluster_utils import Cluster

    try:
        cluster = Cluster()
        for number in range(1, nodes + 1):
            head = {"temp_dir": folder} if number == 1 else {}
            cluster.add_node(
                num_cpus=1,
                resources={SLOT: 1},
                node_name=f"local-{number}",
                node_ip_address="127.0.0.1",
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                **head,
            )
        sys.stdout.write(f"{cluster.address}\n")
    except Exception as error:
        sys.stdout.write(f"{FAILED}{one_line(str(error))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

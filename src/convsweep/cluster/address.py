"""Address of a cluster, as in `--ray`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec

AUTO = "auto"
_MAX_LOCAL_NODES = 16
_ALLOWED = "auto, local, local:N or HOST:PORT"


@dataclass(frozen=True)
class Address:
    """Address of a running cluster, or a number of nodes to start on this machine."""

    text: str
    local_nodes: int = 0
    """Nodes to start; 0: the cluster is running."""

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port; None for `auto` and `local`."""
        if self.local_nodes or self.text == AUTO:
            return None
        host, _, port = self.text.rpartition(":")
        return host.strip("[]"), int(port)


def parse_label(text: str) -> tuple[str, str]:
    """Return key and value of a label; raise `ValueError` if it is not KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise ValueError(f"--nodes {text!r} is not a label KEY=VALUE")
    return key, value


def parse_address(text: str) -> Address:
    """Return the address in `--ray`.

    Raises:
        ValueError: the address is wrong, or Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ValueError(f"--ray {text!r} needs the package ray: pip install 'convsweep[ray]'")
    if text == AUTO:
        return Address(text)
    if match := re.fullmatch(r"local(?::([1-9]\d{0,3}))?", text):
        nodes = int(match[1] or 1)
        if nodes <= _MAX_LOCAL_NODES:
            return Address(text, nodes)
        raise ValueError(f"--ray {text!r} exceeds {_MAX_LOCAL_NODES} nodes on one machine")
    match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text)
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise ValueError(f"--ray {text!r} is not {_ALLOWED}")
    return Address(text)

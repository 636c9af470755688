"""Where a cluster is: the words that `--ray` takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec

AUTO = "auto"
_MOST_LOCAL_NODES = 16
_ALLOWED = "auto, local, local:N or HOST:PORT"


@dataclass(frozen=True)
class Address:
    """A running cluster, or one to be started on this machine."""

    text: str
    """As it was given."""
    local_nodes: int = 0
    """How many nodes to start here; 0: the cluster runs already."""

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port of a running cluster; None where Ray has to find it."""
        if self.local_nodes or self.text == AUTO:
            return None
        host, _, port = self.text.rpartition(":")
        return host.strip("[]"), int(port)


def parse_label(text: str) -> tuple[str, str]:
    """Key and value of the label that `--nodes` names; raises `ValueError` where it names none."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise ValueError(f"--nodes {text!r} is not KEY=VALUE, a label that nodes were given")
    return key, value


def parse_address(text: str) -> Address:
    """The cluster that `--ray` names.

    Raises:
        ValueError: in one line, where it names none, or Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ValueError(
            f"--ray {text!r} needs ray, not installed here: pip install 'convsweep[ray]'"
        )
    if text == AUTO:
        return Address(text)
    if match := re.fullmatch(r"local(?::([1-9]\d{0,3}))?", text):
        nodes = int(match[1] or 1)
        if nodes <= _MOST_LOCAL_NODES:
            return Address(text, nodes)
        raise ValueError(f"--ray {text!r} is more than {_MOST_LOCAL_NODES} nodes on one machine")
    match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text)
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise ValueError(f"--ray {text!r} is not {_ALLOWED}")
    return Address(text)

"""The built-in strategies, one a file; each exports `BACKEND`.

`convsweep.backends` is this folder, and `convsweep.backends()` is all strategies by name.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convsweep.backend import Backend


class _CallableModule(ModuleType):
    def __call__(self) -> dict[str, Backend]:
        from convsweep.registry import backends

        return backends()


sys.modules[__name__].__class__ = _CallableModule

"""The user's own model, made by the factory that a word of the command line names.

Loading a model imports its module and calls its factory: it runs whatever code is in them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from convsweep.formatting import one_line

FORMS = "package.module:factory, FILE.py:factory, torchvision:NAME or timm:NAME"
ZOOS = ("torchvision", "timm")
"""Packages of models, whose models are made by name and without weights."""
_EVEN_KERNELS = "Using padding='same' with even kernel lengths"
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def load_model(spec: str) -> nn.Module:
    """The model that `spec` names, made anew; this runs the code that makes it.

    What that code prints goes to stderr, and PyTorch no longer warns of a copy that even kernels
    need: it is a part of their time. Nothing is downloaded: models of torchvision and timm have
    the weights that they begin with.

    Args:
        spec: `package.module:factory`, importable from the current folder too; `FILE.py:factory`;
            `torchvision:NAME` or `timm:NAME`. A factory is called without arguments; a module
            that exists already is taken as it is.

    Raises:
        ValueError: in one line that names the part of `spec` that is wrong, and what is.
    """
    place, colon, name = spec.rpartition(":")
    if not (place and colon and name):
        raise ValueError(f"{spec!r} names no model; it is {FORMS}")
    warnings.filterwarnings("ignore", message=_EVEN_KERNELS)
    with redirect_stdout(sys.stderr):
        if place in ZOOS:
            return _called(spec, _ZOO[place](name))
        with _importable(Path(place).resolve().parent if _is_file(place) else Path.cwd()):
            found = _attribute(spec, _module(place), name)
            return found if isinstance(found, nn.Module) else _called(spec, found)


def short_name(spec: str) -> str:
    """`path/to/nets.py:small` as `nets.small`, `torchvision:resnet18` as `resnet18`."""
    place, _, name = spec.rpartition(":")
    if place in ZOOS:
        return name
    where = Path(place).stem if _is_file(place) else place.rpartition(".")[2]
    return f"{where}.{name}"


def _is_file(place: str) -> bool:
    return place.endswith(".py")


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Within, what lies in `folder` can be imported."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _module(place: str) -> ModuleType:
    """The module that `place` names, its code run."""
    if _is_file(place):
        path = Path(place)
        if not path.is_file():
            raise ValueError(f"there is no file {place!r}")
        return _ran(place, partial(_import_file, path))
    if not _MODULE.fullmatch(place):
        raise ValueError(f"{place!r} names no module; a model is {FORMS}")
    return _ran(place, partial(importlib.import_module, place))


def _ran(place: str, imports: Callable[[], ModuleType]) -> ModuleType:
    """What `imports` gives; `ValueError` where the module isn't there or its code fails."""
    try:
        return imports()
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{place}.".startswith(f"{missing}."):
            raise ValueError(
                f"there is no module {missing!r}, neither installed nor in the current folder"
            ) from None
        raise ValueError(f"{place!r} can't be imported: {_told(error)}") from None


def _import_file(path: Path) -> ModuleType:
    name = f"convsweep_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as its dataclasses need it
    spec.loader.exec_module(module)
    return module


def _attribute(spec: str, module: ModuleType, name: str) -> Any:
    """What `name`, dots allowed, stands for in the module."""
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            place = spec.rpartition(":")[0]
            near = get_close_matches(part, [word for word in dir(found) if word[0] != "_"])
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"{place!r} has no {name!r}{hint}")
        found = getattr(found, part)
    return found


def _called(spec: str, factory: Any) -> nn.Module:
    """The module that the factory returns."""
    if not callable(factory):
        raise ValueError(f"{spec!r} is {type(factory).__name__}, no factory of a torch.nn.Module")
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{spec!r} raises {_told(error)}") from None
    if not isinstance(made, nn.Module):
        raise ValueError(f"{spec!r} returns {type(made).__name__}, no torch.nn.Module")
    return made


def _told(error: BaseException) -> str:
    """An exception as a part of one line."""
    return one_line(f"{type(error).__name__}: {error}").removesuffix(": ")


def _torchvision(name: str) -> Callable[[], Any]:
    models = _zoo("torchvision").models
    _require_known("torchvision", name, models.list_models())
    maker = models.get_model_builder(name)
    bare = {"weights": None, "weights_backbone": None}
    taken = inspect.signature(maker).parameters
    return partial(maker, **{key: value for key, value in bare.items() if key in taken})


def _timm(name: str) -> Callable[[], Any]:
    timm = _zoo("timm")
    _require_known("timm", name.partition(".")[0], timm.list_models())
    return partial(timm.create_model, name, pretrained=False)


def _zoo(package: str) -> Any:
    """The package, with the variables set that keep it from the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ValueError(f"{package!r} can't be imported: {_told(error)}") from None
        raise ValueError(
            f"{package} is not installed; `pip install {package}` installs it"
        ) from None
    except (Exception, SystemExit) as error:
        raise ValueError(f"{package!r} can't be imported: {_told(error)}") from None


def _require_known(package: str, name: str, known: list[str]) -> None:
    if name not in known:
        near = get_close_matches(name, known) or known[:3]
        raise ValueError(f"{package} has no model {name!r}; it has {', '.join(near)} and others")


_ZOO: dict[str, Callable[[str], Callable[[], Any]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}

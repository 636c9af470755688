"""Loader of the user's model: imports a module and calls a factory, so it runs their code."""

import importlib
import importlib.util
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from convsweep.problems.user_code import UserCodeError, user_code

FORMS = "package.module:factory, FILE.py:factory, torchvision:NAME or timm:NAME"
ZOOS = ("torchvision", "timm")
"""Packages whose models are made by name, without downloading weights."""
_EVEN_KERNELS = "Using padding='same' with even kernel lengths"
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def load_model(spec: str) -> nn.Module:
    """Return a new model; this runs the code that makes it.

    Its output goes to stderr and its input is empty. PyTorch's warning about even kernels is
    disabled: the copy that they need is part of their time.

    Args:
        spec: `package.module:factory`, importable from the current folder too; `FILE.py:factory`;
            `torchvision:NAME` or `timm:NAME`, with initial weights. A factory is called without
            arguments; a module object is used unchanged.

    Raises:
        ValueError: a part of `spec` is wrong, or its code fails.
    """
    place, colon, name = spec.rpartition(":")
    if not (place and colon and name):
        raise ValueError(f"{spec!r} is not a model; use {FORMS}")
    warnings.filterwarnings("ignore", message=_EVEN_KERNELS)
    if place in ZOOS:
        return _call(spec, _zoo_factory(place, name))
    before = list(sys.path)
    folder = Path(place).resolve().parent if _is_file(place) else Path.cwd()
    sys.path.insert(0, str(folder))
    try:
        found = _attribute(place, _import(place), name)
        return found if isinstance(found, nn.Module) else _call(spec, found)
    finally:
        sys.path[:] = before


def short_name(spec: str) -> str:
    """Return `path/to/nets.py:small` as `nets.small`, `torchvision:resnet18` as `resnet18`."""
    place, _, name = spec.rpartition(":")
    if place in ZOOS:
        return name
    where = Path(place).stem if _is_file(place) else place.rpartition(".")[2]
    return f"{where}.{name}"


def _is_file(place: str) -> bool:
    return place.endswith(".py")


def _import(place: str) -> ModuleType:
    """Return the imported module; raise `ValueError` if it is missing or its code fails."""
    if _is_file(place) and not Path(place).is_file():
        raise ValueError(f"there is no file {place!r}")
    if not _is_file(place) and not _MODULE.fullmatch(place):
        raise ValueError(f"{place!r} is not a module; a model is {FORMS}")
    try:
        with user_code():
            return _import_file(Path(place)) if _is_file(place) else importlib.import_module(place)
    except UserCodeError as failure:
        error = failure.__cause__
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{place}.".startswith(f"{missing}."):
            where = "neither installed nor in the current folder"
            text = f"there is no module {missing!r}, {where}"
            text = f"{place} is not installed: pip install {place}" if place in ZOOS else text
            raise ValueError(text) from None
        raise ValueError(f"{place!r} can't be imported: {failure}") from None


def _import_file(path: Path) -> ModuleType:
    name = f"convsweep_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses need it
    spec.loader.exec_module(module)
    return module


def _attribute(place: str, module: ModuleType, name: str) -> Any:
    """Return the attribute `name`, which may contain dots."""
    found: Any = module
    for part in name.split("."):
        try:
            with user_code():
                found = getattr(found, part)
        except UserCodeError:
            near = get_close_matches(part, [word for word in dir(found) if word[:1] != "_"])
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"{place!r} has no {name!r}{hint}") from None
    return found


def _call(spec: str, factory: Any) -> nn.Module:
    """Return the factory's module."""
    if not callable(factory):
        kind = type(factory).__name__
        raise ValueError(f"{spec!r} is {kind}, not a factory of a torch.nn.Module")
    try:
        with user_code():
            made = factory()
    except UserCodeError as error:
        raise ValueError(f"{spec!r} raises {error}") from None
    if not isinstance(made, nn.Module):
        raise ValueError(f"{spec!r} returns {type(made).__name__}, not a torch.nn.Module")
    return made


def _zoo_factory(package: str, name: str) -> Callable[[], Any]:
    """Return a function that makes the model of this name; downloads are disabled."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    zoo: Any = _import(package)
    is_timm = package == "timm"
    models = zoo if is_timm else zoo.models
    known = models.list_models()
    if (name.partition(".")[0] if is_timm else name) not in known:
        near = get_close_matches(name, known) or known[:3]
        raise ValueError(f"{package} has no model {name!r}; it has {', '.join(near)} and others")
    if is_timm:
        return partial(zoo.create_model, name, pretrained=False)
    maker = models.get_model_builder(name)
    taken = inspect.signature(maker).parameters
    without = {key: None for key in ("weights", "weights_backbone") if key in taken}
    return partial(maker, **without)

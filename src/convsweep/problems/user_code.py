"""Code of the user's model: its output, its input, and its exceptions."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager as Context
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import nn

from convsweep.formatting import error_line


class UserCodeError(ValueError):
    """Exception that the user's code raised: its class and text in one line."""


@contextmanager
def user_code(shown: bool = True) -> Iterator[None]:
    """Within, output goes to stderr, or nowhere, and stdin is empty; also in native code.

    Raises:
        UserCodeError: the code raised anything, `SystemExit` included; Ctrl-C stays an interrupt.
    """
    interrupts: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(_counted(interrupts))
        for context in _redirections(shown):
            stack.enter_context(context)
        try:
            yield
        except UserCodeError:
            raise
        except BaseException as error:
            if interrupts and isinstance(error, KeyboardInterrupt):
                raise
            raise UserCodeError(error_line(error)) from error


@contextmanager
def _counted(interrupts: list[int]) -> Iterator[None]:
    """Within, note each Ctrl-C before it is handled: the code may raise `KeyboardInterrupt` too."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or current_thread() is not main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _redirections(shown: bool) -> Iterator[Context[Any]]:
    """Yield a context for each stream."""
    yield _empty_stdin()
    yield _descriptor(0, None)
    if not shown:
        yield redirect_stderr(StringIO())
        yield _descriptor(2, None)
    yield _descriptor(1, 2)
    yield redirect_stdout(sys.stderr)


@contextmanager
def _empty_stdin() -> Iterator[None]:
    before = sys.stdin, sys.breakpointhook
    sys.stdin, sys.breakpointhook = StringIO(), _refuse_breakpoint
    try:
        yield
    finally:
        sys.stdin, sys.breakpointhook = before


def _refuse_breakpoint(*arguments: object, **keywords: object) -> NoReturn:
    raise RuntimeError("breakpoint() needs a terminal, which a measured model does not have")


@contextmanager
def _descriptor(number: int, target: int | None) -> Iterator[None]:
    """Within, a file descriptor is another one, or empty; a closed one stays closed."""
    try:
        before = os.dup(number)
    except OSError:
        yield
        return
    _flush()
    opened = os.open(os.devnull, os.O_RDWR) if target is None else target
    os.dup2(opened, number)
    if target is None:
        os.close(opened)
    try:
        yield
    finally:
        _flush()
        os.dup2(before, number)
        os.close(before)


def _flush() -> None:
    """Write what Python and the C library hold back of stdout."""
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)


def eager() -> Context[Any]:
    """Within, code compiled by `torch.compile` runs eagerly."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes a second
        return nullcontext()
    stance: Context[Any] = torch.compiler.set_stance("force_eager")
    return stance


def own_name(name: str) -> str:
    """Return a module's dotted name without the wrappers of `torch.compile`."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the module within the wrappers of `torch.compile`; also take them off within it."""
    while isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        model = inner
    for parent in [*model.modules()]:
        for name, child in [*parent.named_children()]:
            if isinstance(getattr(child, "_orig_mod", None), nn.Module):
                setattr(parent, name, uncompiled(child))
    return model


def is_compiled(model: nn.Module) -> bool:
    """Return whether `torch.compile` was applied to the model or to a module within."""
    return any(
        "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )

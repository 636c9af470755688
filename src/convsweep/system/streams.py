"""Standard output and error: they may be closed, full, or unable to encode a character."""

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO

from convsweep.descriptors import redirected

UNWRITTEN, READER_GONE = 74, 141
"""Exit codes if standard output can't be written: EX_IOERR of sysexits.h, and 128 + SIGPIPE."""
_PLAIN = str.maketrans("µ→…²\N{NO-BREAK SPACE}", "u>~2 ")


def guard_streams() -> None:
    """Make writing to standard output and error never fail, in this process from now on."""
    codecs.register_error("plain", _plain)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # or other files take the number
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


def lost_output() -> tuple[int, str] | None:
    """Return exit code and error if standard output was not written in full, else None."""
    sys.stdout.flush()
    error = getattr(getattr(sys.stdout.buffer, "raw", None), "error", None)
    return error and (READER_GONE if error.errno == errno.EPIPE else UNWRITTEN, error.strerror)


@contextmanager
def captured_output() -> Iterator[list[str]]:
    """Yield a list; on leaving it has the lines that were written to descriptors 1 and 2."""
    lines: list[str] = []
    with TemporaryFile() as file:
        with redirected(1, file.fileno()), redirected(2, file.fileno()):
            yield lines
        file.seek(0)
        lines += file.read().decode(errors="replace").splitlines()


def _guarded(stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed when Python started
        return Path(os.devnull).open("w", encoding="utf-8")
    with suppress(OSError):  # a test or a notebook shows the text
        file = io.BufferedWriter(_KeptError(stream.fileno(), "wb", closefd=False))
        lines = bool(stream.line_buffering)
        return io.TextIOWrapper(file, stream.encoding, "plain", line_buffering=lines)
    return stream


class _KeptError(io.FileIO):
    """File that discards everything after its first failed write, and keeps the error."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            while self.error is None:
                if (written := super().write(data)) is not None:
                    return written
                select.select([], [self], [])  # another process made the terminal non-blocking
        except OSError as error:
            self.error = error
        return len(data)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return one ASCII character per usual one, and an escape for others."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end

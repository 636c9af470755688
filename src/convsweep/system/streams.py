"""Standard output and error: they may be closed, full, or unable to encode a character."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

UNWRITTEN = 74
"""Exit code if standard output can't be written: EX_IOERR of sysexits.h."""
_READER_GONE = 141  # 128 + SIGPIPE, as of programs that the signal ends
_PLAIN = str.maketrans("µ→…²\N{NO-BREAK SPACE}", "u>~2 ")


def open_closed_descriptors() -> None:
    """Open closed standard streams as the null device, or other files would take their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def guard_streams() -> None:
    """Make writing to standard output and error never fail, in this process from now on."""
    codecs.register_error("plain", _plain)
    sys.stdout, sys.stderr = _guarded(sys.stdout, 1), _guarded(sys.stderr, 2)


def lost_output() -> tuple[int, str] | None:
    """Return exit code and error if standard output was not written in full, else None."""
    sys.stdout.flush()
    file = getattr(sys.stdout.buffer, "raw", None)
    if not isinstance(file, _KeptError) or file.error is None:
        return None
    code = _READER_GONE if file.error.errno == errno.EPIPE else UNWRITTEN
    return code, str(file.error.strerror)


def _guarded(stream: TextIO | None, descriptor: int) -> TextIO:
    try:
        descriptor = descriptor if stream is None else stream.fileno()
    except OSError:  # a test or a notebook shows the text
        assert stream is not None
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_KeptError(descriptor, "wb", closefd=False)),
        encoding=stream.encoding if stream else "utf-8",
        errors="plain",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


class _KeptError(io.FileIO):
    """File that discards everything after its first failed write, and keeps the error."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            while self.error is None:
                written: int | None = super().write(data)
                if written is not None:
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

"""Standard output and error: they may be closed, full, or unable to encode a character."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from pathlib import Path
from typing import Any, TextIO

UNWRITTEN = 74
"""Exit code if standard output can't be written: EX_IOERR of sysexits.h."""
_READER_GONE = 141  # 128 + SIGPIPE, as of programs that the signal ends
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
    file = getattr(sys.stdout.buffer, "raw", None)
    if not isinstance(file, _KeptError) or file.error is None:
        return None
    code = _READER_GONE if file.error.errno == errno.EPIPE else UNWRITTEN
    return code, str(file.error.strerror)


def _guarded(stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed when Python started
        return Path(os.devnull).open("w", encoding="utf-8")
    try:
        file = _KeptError(stream.fileno(), "wb", closefd=False)
    except OSError:  # a test or a notebook shows the text
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="plain",
        line_buffering=bool(stream.line_buffering),
        write_through=getattr(stream, "write_through", False),
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

"""Exit codes: 0 on success, 2 and a sentence on a user's mistake, 130 on Ctrl-C, 1 on a fault of ours."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from convsmith.cli.options import Stopped
from convsmith.cli.wording import as_flags
from convsmith.errors import UserError

INTERRUPTED = "interrupted; a run goes on from its last checkpoint with --resume"
# Errors of the user's system: no permission, no space, a read-only disk.
USERS_ERRNOS = (errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def guarded(app: Callable[..., Any]) -> None:
    """Run a typer app, and exit with the right code and message."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding may lack a letter of a name
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="convsmith", standalone_mode=False)
        if code == 130:  # interrupted before a command had begun
            _fail(INTERRUPTED, 130)
    except UserError as error:
        _fail(str(error))
    except (KeyboardInterrupt, Stopped) as error:
        _fail(str(error) or INTERRUPTED, 130)
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if error.errno not in USERS_ERRNOS:
            raise
        reason = (error.strerror or str(error)).lower()
        _fail(f"{error.filename or 'a file'}: {reason}; make it possible and try again")
    except Exception as error:
        _typer_error(error)
    else:
        if isinstance(code, int) and code:
            sys.exit(code)


def _typer_error(error: Any) -> None:
    """Treat typer's own errors as a user's mistakes; raise anything else with its traceback."""
    if isinstance(error, typer.Abort):
        _fail(INTERRUPTED, 130)
    # By attributes, since some versions of typer bring their own copy of click.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        text = error.format_message().strip() or "see --help"
        if text.startswith("Usage:"):  # no command at all
            sys.stderr.write(f"{text}\n")
            sys.exit(2)
        _fail(text)
    raise error


def _fail(sentence: str, code: int = 2) -> None:
    text = as_flags(sentence)
    sys.stderr.write(f"convsmith: {text}\n".encode("utf-8", "backslashreplace").decode())
    sys.exit(code)

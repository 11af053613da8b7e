"""The end of every command: 0 on success, 2 and a sentence on a user's mistake, 1 on a fault of ours."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from convsmith.cli.wording import as_flags
from convsmith.errors import UserError

INTERRUPTED = "interrupted; a run goes on from its last checkpoint with --resume"
# What the system refuses on a user's machine: no right, no room, a read-only place.
USERS_ERRNOS = (errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def guarded(app: Callable[..., Any]) -> None:
    """Run a typer app, and end as every command ends."""
    try:
        app(prog_name="convsmith", standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt as error:
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


def _typer_error(error: Any) -> None:
    """typer's own refusals are a user's mistakes too; anything else is ours and shows its traceback."""
    if isinstance(error, typer.Abort):
        _fail(INTERRUPTED, 130)
    # Told by its manners: some versions of typer bring their own copy of click, others import it.
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

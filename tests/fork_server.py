"""Runs commands of convsmith in forks of one process that has imported everything.

A command line in a process of its own takes most of its time to import torch; here that is done once. Each
command has its own process, arguments, working directory and output all the same.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

MODULES = (
    "convsmith.cli.main",
    "convsmith.verbs.train",
    "convsmith.verbs.advise",
    "convsmith.training.session",
    "convsmith.training.planning",
    "convsmith.training.survey",
    "convsmith.reports.page",
    "convsmith.advice.curves",
    "convsmith.data.duplicates",
    "matplotlib.backends.backend_svg",
)


class ForkServer:
    """The process, as tests talk to it."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fork")
        self.address = str(Path(self.folder.name, "socket"))
        self.environment = dict(os.environ)
        self.process = subprocess.Popen(
            [sys.executable, __file__, self.address], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def serves(self, words: list[str]) -> bool:
        """Whether a command is the same in a fork: imported under this environment, in one process."""
        strange = set(os.environ.items()) ^ set(self.environment.items())
        return "--devices" not in words and all(name == "PYTEST_CURRENT_TEST" for name, _ in strange)

    def run(self, words: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run ``convsmith WORDS``, as :func:`subprocess.run` would."""
        with tempfile.TemporaryDirectory(prefix="fork") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            with socket.socket(socket.AF_UNIX) as channel:
                channel.settimeout(timeout)
                channel.connect(self.address)
                asked = {"words": words, "folder": str(Path.cwd()), "out": str(out), "err": str(err)}
                channel.sendall(json.dumps(asked).encode() + b"\n")
                try:
                    code = int(channel.makefile().readline())
                except TimeoutError:
                    raise subprocess.TimeoutExpired(words, timeout) from None
            return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.folder.cleanup()


def serve(address: str) -> None:
    """Import everything, and run what is asked for, one command at a time."""
    for module in MODULES:
        __import__(module)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            channel, _ = listener.accept()
            with channel:
                asked = json.loads(channel.makefile().readline())
                child = os.fork()
                if not child:
                    listener.close()
                    channel.close()
                    os._exit(_command(**asked))
                _, status = os.waitpid(child, 0)
                try:
                    channel.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                except BrokenPipeError:  # the test has given up
                    continue


def _command(words: list[str], folder: str, out: str, err: str) -> int:
    for number, file in ((1, out), (2, err)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    from convsmith.cli import main

    sys.argv = [main.__file__, *words]
    code = 0
    try:
        main.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])

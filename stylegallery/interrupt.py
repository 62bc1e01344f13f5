"""Ctrl-C ends a command with one sentence on how to go on, from its first import to its last line."""

import sys
from types import TracebackType
from typing import NoReturn

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


def end_interrupted() -> NoReturn:
    print("interrupted: what is done is kept, and the same command does the rest", file=sys.stderr)
    sys.exit(INTERRUPTED)


def explain_interrupts() -> None:
    """Of this process, wherever Ctrl-C meets it. Not for programs that import us."""
    usual = sys.excepthook

    def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            end_interrupted()
        usual(kind, error, trace)

    sys.excepthook = explain


def explain_interrupts_of_commands() -> None:
    """Of `python -m <package>.<command>`, asked by that package before everything else."""
    if sys.argv[:1] == ["-m"]:  # what Python calls the command until it has found it
        explain_interrupts()

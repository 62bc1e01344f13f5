"""Ctrl-C ends a command with one sentence on how to go on, from its first import to its last line."""

import sys
from types import TracebackType
from typing import NoReturn

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


def end_interrupted() -> NoReturn:
    print("interrupted: what is done is kept, and the same command does the rest", file=sys.stderr)
    sys.exit(INTERRUPTED)


def explain_interrupts() -> None:
    """End this process with that sentence on Ctrl-C, whatever it does. Not for programs that import us."""
    usual = sys.excepthook

    def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            end_interrupted()
        usual(kind, error, trace)

    sys.excepthook = explain


def explain_interrupts_of_commands() -> None:
    """`explain_interrupts` where this process is `python -m <package>.<command>`; the package calls this first."""
    if sys.argv[:1] == ["-m"]:  # Python's name of the command until it has found the module
        explain_interrupts()

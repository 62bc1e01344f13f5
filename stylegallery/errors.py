"""Errors that the user can mend: one sentence each, with exit code 2. Their types say what is to blame.

What a method raises while it does one of many items decides what becomes of the others:

    InputError       something of this item: a picture, a mask, a pin. The item fails, the others are done.
    SettingsError    settings that suit no item, or a method that is none. The run of this label ends at once.
    MachineError     what this machine lacks: a device, weights, room on its disk. The run of this label ends at once.
    OutOfMemory      memory. The item may be larger than others and fails alone; a second one in a row ends the run.

The other labels of an experiment are run in every case. A FloatingPointError is what the numbers of an item have come
to: it fails alone, without a traceback. `contract.Cancelled` and Ctrl-C end everything. Any other exception is a bug:
the item fails alone, with its traceback.
"""

import re

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """A text as one line of UTF-8 that a terminal can show: control characters and what is no character are escaped."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class InputError(ValueError):
    """Something the user passed cannot be used; the message names it and the remedy in one printable sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class SettingsError(InputError):
    """A setting that no item can be done with, or code named by one that is no method."""


class MachineError(InputError):
    """A device, weights or room on a disk that this machine does not have."""


class OutOfMemory(MachineError):
    """More memory was needed than the GPU or the machine has."""


def require(holds: bool, rule: str, value: object) -> None:
    """Raise SettingsError, naming the rule and the value that broke it, where a setting is out of its range."""
    if not holds:
        raise SettingsError(f"{rule}, not {value}")


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

"""The one error that is the user's to mend: shown as a single sentence, exit code 2."""

import re

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """A text in one line of UTF-8 that a terminal only shows: what would steer it, or is no character, is escaped."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class InputError(ValueError):
    """Something the user passed cannot be used; the message names it and the remedy in one printable sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def require(holds: bool, rule: str, value: object) -> None:
    """Raise InputError, naming the rule and the value that broke it, where a setting is out of its range."""
    if not holds:
        raise InputError(f"{rule}, not {value}")


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

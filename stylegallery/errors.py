"""The one error that is the user's to mend: shown as a single sentence, exit code 2."""


class InputError(ValueError):
    """Something the user passed cannot be used; the message names it and the remedy in one sentence."""


def require(holds: bool, rule: str, value: object) -> None:
    """Raise InputError, naming the rule and the value that broke it, where a setting is out of its range."""
    if not holds:
        raise InputError(f"{rule}, not {value}")


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

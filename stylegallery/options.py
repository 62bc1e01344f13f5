"""Options of the command line that are none: what newcomers write with dashes, answered in one sentence."""

import re
import shlex
from collections.abc import Sequence
from itertools import takewhile
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from stylegallery.errors import InputError
from stylegallery.overrides import names, nearest

PLAIN = re.compile(r"[\w./:@%?*+-]+")  # a value that Hydra reads without quotes


def require_options(given: Sequence[str]) -> None:
    """Hydra's parser prints its whole usage instead. It also takes the beginning of an option for the option:
    --experiment for --experimental-rerun.

    Raises:
        InputError: a word begins with dashes and is no option of Hydra's, or an option lacks its value.
    """
    parser = get_args_parser()
    options = {option for action in parser._actions for option in action.option_strings}
    for place, word in enumerate(given):
        option, equals, value = word.partition("=")
        if word.startswith("-") and word != "--" and option not in options:
            after = takewhile(lambda one: "=" not in one and not one.startswith("-"), given[place + 1 :])
            raise InputError(not_an_option(option, [value] if equals else list(after), given))

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}; python run.py --hydra-help shows these options")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(given)


def not_an_option(option: str, values: Sequence[str], given: Sequence[str]) -> str:
    """What to write instead of an option and the values behind it."""
    name = option.lstrip("-").replace("-", "_")
    settings = [one for one in given if "=" in one and not one.startswith("-")]
    if name not in names(settings):
        return f"{option} is no option, and {name} no setting; {nearest(name, settings)}"
    quoted = [value if PLAIN.fullmatch(value) else f'"{value}"' for value in values]
    written = quoted[0] if len(quoted) == 1 else f"[{','.join(quoted)}]" if quoted else "VALUE"
    return f"{option} is no option; a setting is written without dashes: {shlex.quote(f'{name}={written}')}"

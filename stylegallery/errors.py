"""The one error that is the user's to mend: shown as a single sentence, exit code 2."""


class InputError(ValueError):
    """Something the user passed cannot be used; the message names it and the remedy in one sentence."""

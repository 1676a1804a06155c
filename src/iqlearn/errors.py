"""The one error a user can cause: bad input, told in one sentence."""


class InputError(Exception):
    """Input that cannot be used: says what is wrong, where, what was expected and what to do.

    The command line prints the sentence and exits with code 2; nothing is lost or overwritten.
    """

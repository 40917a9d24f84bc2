"""What can go wrong, each told in one line and with an exit code of its own.

Exit codes: 0 done; 1 failed; 2 usage or bad input; 3 incomplete study;
75 stopped by a signal, resumable by the same command.
"""


class Problem(Exception):
    """A failure that is told to the user in one line, without a traceback."""

    exit_code = 1


class InputError(Problem):
    """The user's input is wrong; the message says what, where and what to do."""

    exit_code = 2


class IncompleteError(Problem):
    """Some cells of a study are missing; what could be written was written."""

    exit_code = 3


class Interrupted(Problem):
    """Stopped by a signal after saving a checkpoint; the same command goes on."""

    exit_code = 75


def last_line(text: str) -> str:
    """The last line, which is what a traceback comes to."""
    return " ".join(text.strip().splitlines()[-1:])

"""What can go wrong: each error is one line for the user, and has an exit code.

Exit codes: 0 done; 1 failed; 2 usage or bad input; 3 incomplete study;
75 stopped by a signal, resumable by the same command.
"""


class Problem(Exception):
    """A failure that the user sees as one line, without a traceback."""

    exit_code = 1


class InputError(Problem):
    """The user's input is wrong; the message says what, where and how to fix it."""

    exit_code = 2


class IncompleteError(Problem):
    """Some cells of a study are missing; what could be written was written."""

    exit_code = 3


class Interrupted(Problem):
    """Stopped by a signal after saving a checkpoint; the same command resumes."""

    exit_code = 75


def last_line(text: str) -> str:
    """Return the last line, which is the error itself in a traceback."""
    return " ".join(text.strip().splitlines()[-1:])


def one_line(text: object) -> str:
    """Return a text in one line; of an error without a message, the name of its type."""
    line = " ".join(str(text).split())
    return line or type(text).__name__ if isinstance(text, BaseException) else line

"""Errors for the user: each has a message of one line and an exit code.

Exit codes: 0 done; 1 failed; 2 usage or bad input; 3 incomplete study;
75 stopped by a signal or by a failure that may pass, such as a server that is away; the same
command resumes.
"""

import shlex

# The end of the message of an `Interrupted`.
RESUME = "run the same command again to resume from the last checkpoint"


class Problem(Exception):
    """A failure that the command line prints as one line, without a traceback."""

    exit_code = 1


class InputError(Problem):
    """The user's input is wrong; the message says what, where and how to fix it."""

    exit_code = 2


class IncompleteError(Problem):
    """Some cells of a study are missing; the report covers the others."""

    exit_code = 3


class AwayError(Problem):
    """Something that may pass has failed, such as a server; the same command may succeed later."""

    exit_code = 75


class Interrupted(Problem):
    """A signal stopped the command, after a checkpoint was saved; the same command resumes."""

    exit_code = 75


def command(*words: str, store: str | None = None) -> str:
    """Return a command of motifk8s to paste into a shell; `store` is the URL of its store."""
    return shlex.join(["motifk8s", *words, *(["--store", store] if store else [])])


def last_line(text: str) -> str:
    """Return the last line of a text: in a traceback, the error itself."""
    return " ".join(text.strip().splitlines()[-1:])


def one_line(text: object) -> str:
    """Join the lines of a text; an error without a message becomes the name of its type."""
    line = " ".join(str(text).split())
    return line or type(text).__name__ if isinstance(text, BaseException) else line

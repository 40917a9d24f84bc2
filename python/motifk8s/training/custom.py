"""Build a network with a Python function of the user.

The function is in the study, as the text of its file. This module alone executes it: for `plan`,
for `run` and for a cell, never to read or report results. A mistake in the file is an `InputError`
of one line, which names the line.
"""

from __future__ import annotations

import io
import linecache
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from motifk8s.errors import InputError, last_line, one_line
from motifk8s.study.specs import CustomModel
from motifk8s.study.study import content_hash

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

LONGEST = 300  # characters of an error that a message quotes


def build(spec: CustomModel, length: int, n_classes: int, seed: int = 0) -> keras.Model:
    """Call the function of a custom model, and check the shapes of its inputs and outputs.

    Parameters
    ----------
    length : int
        Sequence length L in bp.
    n_classes : int
        Number of binary labels C.
    seed : int
        Seeds Python's, NumPy's and Keras's random numbers, so it determines initial weights and
        dropout masks unless the function sets its own seeds.

    Returns
    -------
    keras.Model
        From one-hot sequences (N, L, 4) to probabilities (N, C).

    Raises
    ------
    InputError
        If the file or the function raises an error, or the model has other shapes.
    """
    import keras

    with executing(spec):
        keras.utils.set_random_seed(seed)
        function = getattr(_module(spec), spec.function, None)
    if not callable(function):
        raise InputError(f"{_name(spec)} has no function {spec.function}")
    with executing(spec):
        model = function(length, n_classes, **spec.options)
    where = f"{_name(spec)}: {spec.function}"
    if not isinstance(model, keras.Model):
        raise InputError(f"{where} returns {type(model).__name__}; return a keras.Model")
    with executing(spec):
        output = model(np.zeros((1, length, 4), np.float32))
    if tuple(getattr(output, "shape", ())) != (1, n_classes):
        shown = str(getattr(output, "shape", type(output).__name__)).replace("(1,", "(N,")
        raise InputError(
            f"{where} returns a model whose output is {shown} for input (N, {length}, 4); it must "
            f"be one array of probabilities (N, {n_classes})"
        )
    return model


@contextmanager
def executing(spec: CustomModel) -> Iterator[None]:
    """Turn errors of the user's code into an `InputError`, and what it prints into log lines.

    Without this, a print would be part of the output of a command.
    """
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(_describe(spec, error)) from error
    finally:
        if text := one_line(printed.getvalue()):
            log.info("%s prints: %s", _name(spec), text)


def _module(spec: CustomModel) -> ModuleType:
    """Execute the text of the file once in a process, and return its module.

    Python finds the source of its functions as if it had read the file: TensorFlow's AutoGraph
    needs it, and so do tracebacks.
    """
    assert spec.source is not None
    name = f"motifk8s_custom_{content_hash(spec.source)[:16]}"
    if name not in sys.modules:
        lines = spec.source.splitlines(keepends=True)
        linecache.cache[_name(spec)] = (len(spec.source), None, lines, _name(spec))
        module = ModuleType(name)
        sys.modules[name] = module
        try:
            exec(compile(spec.source, _name(spec), "exec"), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _name(spec: CustomModel) -> str:
    """Return the name of the file, in messages and tracebacks; its folder may be elsewhere now."""
    return Path(spec.file).name


def _describe(spec: CustomModel, error: BaseException) -> str:
    """Return one line: the file, the last of its lines that was executed, and the error."""
    if isinstance(error, SyntaxError) and error.filename == _name(spec):
        return f"{_name(spec)}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == _name(spec)]
    where = f"{_name(spec)}, line {lines[-1]}" if lines else f"{_name(spec)}: {spec.function}"
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{where}: {error}; install it here and in the image (a network is one file; other "
            "modules in its folder do not go with the study)"
        )
    kind, text = type(error).__name__, str(error).split("Arguments received by")[0]
    if "in user code:" in text:  # TensorFlow repeats the traceback before the error's own line
        return f"{where}: {_short(last_line(text))}"
    return f"{where}: {kind}: {_short(text)}" if text.strip() else f"{where}: {kind}"


def _short(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."

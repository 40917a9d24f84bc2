"""Which architectures make the filters of a CNN learn whole motifs: run such studies anywhere.

The names below are the public API, described in docs/api.md. Importing the package imports no
library; each name is imported when it is first used.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it as True; importing typing takes most of the time
if TYPE_CHECKING:
    from motifk8s.api import (
        build_model,
        extract_motifs,
        jaspar,
        load_study,
        one_hot,
        plan,
        plot_logo,
        read_dataset,
        read_fasta,
        read_meme,
        results,
        run,
        tomtom,
        write_meme,
    )
    from motifk8s.data.datasets import Dataset
    from motifk8s.errors import AwayError, IncompleteError, InputError, Interrupted, Problem
    from motifk8s.motifs.motif import Motif
    from motifk8s.study.study import Study

    __version__: str

__all__ = [
    "AwayError", "Dataset", "IncompleteError", "InputError", "Interrupted", "Motif", "Problem",
    "Study", "__version__", "build_model", "extract_motifs", "jaspar", "load_study", "one_hot",
    "plan", "plot_logo", "read_dataset", "read_fasta", "read_meme", "results", "run", "tomtom",
    "write_meme",
]  # fmt: skip

# The modules of the names that are not functions of `motifk8s.api`.
_MODULES = {
    "Dataset": "motifk8s.data.datasets",
    "Motif": "motifk8s.motifs.motif",
    "Study": "motifk8s.study.study",
    **dict.fromkeys(
        ("AwayError", "IncompleteError", "InputError", "Interrupted", "Problem"), "motifk8s.errors"
    ),
}


if not TYPE_CHECKING:  # with it, type checkers would accept every name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            value: object = import_module("motifk8s.provenance").version()
        else:
            value = getattr(import_module(_MODULES.get(name, "motifk8s.api")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

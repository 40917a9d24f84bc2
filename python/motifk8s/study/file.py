"""Read the text of a study file into one plain mapping: YAML 1.2, then `extends`.

A file with the key `extends: NAME_OR_PATH` is a merge patch (RFC 7396) over that study: mappings
merge, other values replace, null deletes. There are three exceptions:

- Under `training`, `motifs` and `analysis`, null is a value.
- A preset, or another kind of data set or model, replaces the whole value of the base.
- If the file deletes a data set or a model, the base's published numbers and figures for it are
  deleted too.

`study.py` validates the mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from motifk8s.errors import InputError, one_line
from motifk8s.store.files import expanded, is_address
from motifk8s.store.open import read_url
from motifk8s.study.specs import OF_DATA
from motifk8s.study.strict import no_such

FOLDER = Path(__file__).parent / "builtin"
SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 2**20  # bytes; the largest built-in study has about 10 kB
MOST_VALUES = 200_000  # each alias counts as what it stands for; a study has about 1,000

Merge = Callable[[Any, Any], Any]  # (base, patch) -> merged value
NO_MERGES: Mapping[str, Merge] = {}


def builtin_names() -> list[str]:
    """Return the names of the built-in studies, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def locate(name_or_path: str, folder: Path | str | None = None) -> Path:
    """Return the path of a study's file.

    Parameters
    ----------
    name_or_path : str
        A path if it contains a slash or ends in .yaml, .yml or .json, otherwise a name.
    folder : Path or str, optional
        The folder of relative paths (default: the current folder). A str is the URL of a folder in
        an object store: there, only built-in studies are found.

    Raises
    ------
    InputError
        No built-in study has that name, a path is relative to an object store, or it begins with
        the ~NAME of an unknown user.
    """
    if "/" in name_or_path or name_or_path.endswith(SUFFIXES):
        if isinstance(folder, str):
            raise InputError(f"{name_or_path}: a study in a store can only extend a built-in one")
        if is_address(name_or_path):
            hint = "give the path of a file (STUDY itself may be s3://bucket/key)"
            raise InputError(f"{name_or_path}: is an address; {hint}")
        return (folder or Path()) / expanded(name_or_path)
    names = builtin_names()
    if name_or_path in names:
        return FOLDER / f"{name_or_path}.yaml"
    raise InputError(no_such("built-in study (or path that ends in .yaml)", name_or_path, names))


def read_text(path: Path) -> str:
    """Read a file of a study; raise an `InputError` if it cannot be read."""
    try:
        with path.open("rb") as file:  # perhaps a pipe or a device, of any length
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InputError(f"{path}: too large (more than {LARGEST:,} bytes)")
        return decode(data, str(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(
            f"{path}: is a folder; give the path of a {path.suffix or '.yaml'} file"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def decode(data: bytes, source: str) -> str:
    """Decode the bytes of a file of a study; error messages begin with `source`."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{source}: line {line}: not UTF-8; save the file as UTF-8") from None


def parse(text: str, source: str) -> dict[str, Any]:
    """Parse a YAML mapping; error messages begin with `source`.

    In YAML 1.2, 3e-4 is a number and `no` is a string. A duplicate key is an error.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        _check_size(node, source)
        data = node and yaml.constructor.construct_document(node)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        what = str(error.problem or error.context).split(" with value ")[0]
        raise InputError(f"{source}: {where}not YAML: {one_line(what)}") from None
    except ReaderError as error:
        where = f"line {text[: error.position].count(chr(10)) + 1}"
        raise InputError(f"{source}: {where}: not YAML: a control character") from None
    except RecursionError:
        raise InputError(f"{source}: not a study: nested too deeply") from None
    except (YAMLError, ValueError) as error:
        raise InputError(f"{source}: not YAML: {one_line(error)}") from None
    if data is None:
        raise InputError(f"{source}: line 1: empty; a study needs at least name: NAME")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise InputError(f"{source}: line 1: {kind}; a study is a mapping (name: NAME, ...)")
    return data


def _check_size(root: Any, source: str) -> None:
    """Raise `InputError` if a tree, of YAML's nodes or of data, is too large or contains itself."""
    sizes: dict[int, int] = {}

    def size(value: Any) -> int:
        if not (parts := _parts(value)):
            return 1
        if id(value) not in sizes:
            sizes[id(value)] = 0  # until its parts are counted
            sizes[id(value)] = 1 + sum(map(size, parts))
        elif not sizes[id(value)]:
            raise InputError(f"{source}: a YAML alias contains itself")
        return sizes[id(value)]

    if size(root) > MOST_VALUES:
        raise InputError(
            f"{source}: more than {MOST_VALUES:,} values, counting those of each YAML alias; write "
            "a smaller study"
        )


def _parts(value: Any) -> list[Any]:
    """Return the parts of a mapping or list, as a node of YAML or as data."""
    inner = getattr(value, "value", value)
    if isinstance(inner, dict):
        return list(inner.values())
    items = inner if isinstance(inner, list) else []
    return [part for item in items for part in (item if isinstance(item, tuple) else [item])]


def read(
    text: str, source: str, folder: Path | str | None = None, seen: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Parse a study's YAML or JSON text and merge it into the study that it extends.

    Error messages begin with `source`. Relative paths are in `folder`, as for `locate`. `seen` is
    the chain of files that extend each other and end here, to detect a cycle.

    Raises
    ------
    InputError
        The text is not a YAML mapping, its base is missing, unreadable or part of a cycle, or a
        path begins with the ~NAME of an unknown user.
    """
    folder = folder or Path()
    data = parse(text, source)
    _make_absolute(data, folder, source)
    _add_sources(data, source)
    if "extends" not in data:
        return data
    extends = data.pop("extends")
    if not isinstance(extends, str):
        raise InputError(f"{source}: extends: should be the name of a built-in study or a path")
    if not isinstance(data.get("name"), str):
        raise InputError(
            f"{source}: name: missing; a study that extends another needs its own name"
        )
    try:
        path = locate(extends, folder)
        if path.resolve() in seen:
            raise InputError(f"{path} extends itself, directly or through others")
        base = read(read_text(path), str(path), path.parent, (*seen, path.resolve()))
    except InputError as error:
        raise InputError(f"{source}: extends: {error}") from None
    result = _without_deleted(merge(base, data, MERGES), base, data)
    _check_size(result, source)
    return result


def merge(
    base: Any, patch: Any, merges: Mapping[str, Merge] = NO_MERGES, null_deletes: bool = True
) -> Any:
    """Return `base` with a merge patch applied; unless both are mappings, `patch` replaces `base`.

    `merges` has the function that merges the values of a key ("*": of every other key); its default
    is this one. Null deletes a key of the base, or is a value if `null_deletes` is false.
    """
    if not isinstance(patch, dict):
        return patch
    default = merges.get("*", partial(merge, null_deletes=null_deletes))
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None and null_deletes:
            result.pop(key, None)
        else:
            result[key] = merges.get(str(key), default)(result.get(key), value)
    return result


def merge_settings(base: Any, patch: Any) -> Any:
    """Merge settings: null is a value, and a preset discards the base."""
    base, patch = ({"preset": s} if isinstance(s, str) else s for s in (base, patch))
    fresh = isinstance(patch, dict) and "preset" in patch
    return merge({} if fresh else base, patch, null_deletes=False)


def merge_data_set(base: Any, patch: Any) -> Any:
    """Merge a data set: another kind discards the base."""
    kind = _mapping(base).get("kind")
    fresh = _mapping(patch).get("kind", kind) != kind
    return merge({} if fresh else base, patch, {"training": merge_settings})


def merge_model(base: Any, patch: Any) -> Any:
    """Merge a model: one that a function builds discards one of layers, and the reverse."""
    fresh = ("build" in _mapping(base)) != ("build" in _mapping(patch)) and (
        not _mapping(patch).keys().isdisjoint(("build", "conv"))
    )
    return merge({} if fresh else base, patch)


MERGES: Mapping[str, Merge] = {  # for the keys of a study
    "training": merge_settings,
    "motifs": merge_settings,
    "analysis": merge_settings,
    "datasets": partial(merge, merges={"*": merge_data_set}),
    "models": partial(merge, merges={"*": merge_model}),
}


def _without_deleted(
    result: dict[str, Any], base: dict[str, Any], patch: dict[str, Any]
) -> dict[str, Any]:
    """Drop the base's rows and figures that use a deleted data set, class or model.

    Rows are those of `expected` and `claims`. Claims that need synthetic data (`OF_DATA`) are
    deleted with them, too.
    """
    deleted = {
        key: _mapping(base.get(key)).keys() - _mapping(result.get(key)).keys()
        for key in ("datasets", "models")
    }
    before, after = (_mapping(study.get("datasets")) for study in (base, result))

    def fits(row: dict[str, Any], dataset: str) -> bool:
        old, new = _mapping(before.get(dataset)), _mapping(after.get(dataset))
        gone = _mapping(old.get("classes")).keys() - _mapping(new.get("classes")).keys()
        classes = row.get("classes")
        if isinstance(classes, list) and not gone.isdisjoint(map(str, classes)):
            return False
        return row.get("measure") not in OF_DATA or old.get("kind") == new.get("kind")

    def stays(row: Any) -> bool:
        if not isinstance(row, dict):
            return True
        lists = [row[key] for key in ("models", "than", "panels") if isinstance(row.get(key), list)]
        names = [str(name).partition("/")[0] for models in lists for name in models]
        if isinstance(dataset := row.get("dataset"), str) and (
            dataset in deleted["datasets"] or not fits(row, dataset)
        ):
            return False
        return deleted["models"].isdisjoint(names)

    for key in ("expected", "claims"):
        if key not in patch and isinstance(result.get(key), list):
            result[key] = [row for row in result[key] if stays(row)]
    if isinstance(result.get("figures"), dict):
        own = _mapping(patch.get("figures"))
        result["figures"] = {
            name: figure
            for name, figure in result["figures"].items()
            if name in own or stays(figure)
        }
    return result


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _make_absolute(data: dict[str, Any], folder: Path | str, source: str) -> None:
    """Make the study's paths absolute; they are relative to the folder of its file."""

    def absolute(path: str, key: str) -> str:
        if isinstance(folder, str):
            return path if "://" in path or path.startswith("/") else f"{folder}/{path}"
        if "://" in path:
            return path
        try:
            return str((folder / expanded(path)).absolute())
        except InputError as error:
            raise InputError(f"{source}: {key}: {error}") from None

    matches = data.get("matches")
    for label, model in _mapping(data.get("models")).items():
        if isinstance(model, dict) and isinstance(model.get("build"), str):
            model["build"] = absolute(model["build"], f"models.{label}.build")
    for label, spec in _mapping(data.get("datasets")).items():
        if isinstance(spec, dict) and isinstance(spec.get("path"), str) and spec["path"]:
            spec["path"] = absolute(spec["path"], f"datasets.{label}.path")
    if isinstance(matches, dict) and isinstance(name := matches.get("database"), str):
        is_path = "/" in name or name.endswith((".meme", ".txt"))
        matches["database"] = absolute(name, "matches.database") if is_path else name


def _add_sources(data: dict[str, Any], source: str) -> None:
    """Add the text of the Python file of each model that has one, unless the study has it."""
    for name, model in _mapping(data.get("models")).items():
        if not isinstance(model, dict) or model.get("source") is not None:
            continue
        file, colon, _ = str(model.get("build", "")).rpartition(":")
        if not (colon and file.endswith(".py")):
            continue  # the study's check says what is wrong
        try:
            text = decode(read_url(file), file) if "://" in file else read_text(Path(file))
        except InputError as error:
            raise InputError(f"{source}: models.{name}.build: {error}") from None
        model["source"] = text

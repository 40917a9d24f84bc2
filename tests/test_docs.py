"""The pages: what they name exists, what exists they name, and their examples load."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from motifk8s import errors
from motifk8s.cells.keys import STAGES
from motifk8s.cells.plan import State
from motifk8s.cli import main
from motifk8s.data.datasets import describe, read
from motifk8s.filters import analysis
from motifk8s.motifs.tomtom import COLUMNS
from motifk8s.report import claims, comparison, found, tables
from motifk8s.study.file import builtin_names
from motifk8s.study.schema import json_schema
from motifk8s.study.study import load, loads

ROOT = Path(__file__).parents[1]
CLUSTER_PAGES = ["docs/kubernetes.md", "docs/cloud.md", "docs/troubleshooting.md"]
DATA_PAGES = ["docs/own-data.md", "docs/invivo.md"]
PAGES = [
    "README.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md",
    "docs/api.md", "docs/cli.md", "docs/design.md",
    "docs/motifs.md", "docs/paper.md", "docs/performance.md", "docs/studies.md", "docs/store.md",
    "docs/results/README.md", "docs/versions.md", "argo/README.md", "helm/motifk8s/README.md",
    "docs/archive.md", "docs/tracking.md", *DATA_PAGES, *CLUSTER_PAGES,
]  # fmt: skip
FOLDERS = r"bench|docs|examples|python|tests|requirements|helm|argo|images|\.ci"
PACKAGE = ROOT / "python" / "motifk8s"
CHART = ROOT / "helm" / "motifk8s"
pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the pages are not part of an image"
)


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def inline(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text(page), flags=re.M | re.S))


def shell_lines(page: str) -> list[str]:
    lines = "".join(blocks(page, "sh")).splitlines()
    return [said for line in lines if (said := line.partition("#")[0].strip())]


def commands() -> dict[str, argparse.ArgumentParser]:
    actions = main.build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    return dict(actions[0].choices)  # type: ignore[arg-type]


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """Of a command and of what is under it, as the kinds of import are."""
    found = {flag for action in parser._actions for flag in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= set().union(*map(flags, action.choices.values()))
    return found


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def rows(page: str, header: str) -> list[list[list[str]]]:
    """Tables of a page whose header begins with `header`: rows of cells."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text(page), re.MULTILINE):
        lines = [[c.strip() for c in row.split("|")[1:-1]] for row in table.splitlines()]
        if lines[0][0] == header:
            found.append([lines[0], *lines[2:]])
    return found


# --- commands and files


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_and_variables_exist(page: str) -> None:
    makefile = text("Makefile")
    targets = re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)
    variables = re.findall(r"^([A-Z_]+) +\?=", makefile, re.MULTILINE)
    said = [line for line in [*shell_lines(page), *inline(page)] if line.startswith("make ")]
    assert said or page != "README.md"
    for line in said:
        for word in shlex.split(line.partition("&&")[0])[1:]:
            assert word.partition("=")[0] in (variables if "=" in word else targets), line


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_flags_exist(page: str) -> None:
    known = commands()
    for line in [*shell_lines(page), *inline(page)]:
        program, *rest = line.split()
        if program.rpartition("/")[2] != "motifk8s" or rest in ([], ["--help"]):
            continue
        assert rest[0] in known, line
        for flag in re.findall(r"(?<!\S)--[a-z-]+", line):
            assert flag in flags(known[rest[0]]), line
    everywhere = set().union(*map(flags, known.values()))
    assert {w.split()[0] for w in inline(page) if w.startswith("--")} <= everywhere


def test_generated_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert text("docs/cli.md") == generate.cli_page(), "run make pages"
    assert text("helm/motifk8s/README.md") == generate.chart_page(), "run make pages"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            known = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads]
            assert anchor in known, target


@pytest.mark.parametrize("page", PAGES)
def test_files_named_exist(page: str) -> None:
    made = {"examples/own-data.h5"}
    for name in inline(page):
        if re.fullmatch(rf"({FOLDERS})/[\w./-]+", name):
            assert (ROOT / name).exists() or name in made, name


# --- the cluster


def code() -> dict[str, str]:
    """Files that know of the environment: the package, the chart, the images."""
    files = [*PACKAGE.rglob("*.py"), *CHART.rglob("*"), *(ROOT / "images").glob("*")]
    return {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8") for f in files if f.is_file()}


def test_every_variable_is_told() -> None:
    [table] = [t for t in rows("docs/store.md", "variable") if t[1][0].startswith("`MOTIFK8S")]
    told = {word for row in table[1:] for word in words(row[0])}
    read = {name for text in code().values() for name in re.findall(r"MOTIFK8S_[A-Z_]*[A-Z]", text)}
    assert told == read
    table = rows("docs/kubernetes.md", "variable")[0]
    told = {word for row in table[1:] for word in words(row[0])}
    cluster = code()["python/motifk8s/cluster/client.py"]
    assert told == set(re.findall(r'environ(?:\.get\(|\[)"(ARGO_[A-Z_]+)"', cluster))


def values() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((CHART / "values.yaml").read_text(encoding="utf-8")))


def is_value(path: str) -> bool:
    here: Any = values()
    for key in path.split("."):
        if not isinstance(here, dict) or key not in here:
            return False
        here = here[key]
    return True


@pytest.mark.parametrize("page", CLUSTER_PAGES)
def test_values_that_are_named_exist(page: str) -> None:
    named = re.findall(r"--set[= ]([\w.]+)=", text(page))
    named += re.findall(r"values? `([\w.]+)`", text(page))
    groups = {key for key, value in values().items() if isinstance(value, dict)}
    for said in inline(page):
        if re.fullmatch(r"\w+(\.\w+)+", said) and said.split(".")[0] in groups:
            named.append(said)
    named = [name for name in named if not name.endswith((".py", ".yaml"))]
    assert named
    assert [name for name in named if not is_value(name)] == []


def test_values_files_in_the_pages_fit_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    found = [block for block in blocks("docs/cloud.md", "yaml") if "apiVersion:" not in block]
    assert len(found) >= 3
    for block in found:
        # Capitals stand for names of the reader's, which are not capitals.
        plain = re.sub(r"\b[A-Z]{3,}\b", lambda word: word[0].lower(), block)
        jsonschema.validate(YAML(typ="safe").load(plain), schema, jsonschema.Draft7Validator)


# --- the code


def test_readme_names_every_package_in_the_order_of_imports() -> None:
    block = text("README.md").partition("## Code")[2].split("```")[1]
    named = re.findall(r"^  ([a-z]+)(?:/|\.py) ", block, re.MULTILINE)
    contracts = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = [re.split(r" \| ", layer) for layer in contracts[0]["layers"]]
    floors = [{name for name in layer} for layer in reversed(layers)]
    for floor in floors:
        assert set(named[: len(floor)]) == floor
        named = named[len(floor) :]
    assert named == []


# --- the study file


def test_the_generated_in_vivo_study_is_the_papers_under_another_name() -> None:
    ours, paper = load(str(ROOT / "bench" / "invivo.yaml")), load("koo2019")
    [(name, spec)] = ours.datasets.items()
    assert name not in paper.datasets  # so that it has a place of its own in every store
    assert spec.model_dump(exclude={"classes"}) == (
        paper.datasets["invivo"].model_dump(exclude={"classes"})
    )
    classes = [
        {key: label.model_dump(exclude={"track"}) for key, label in some.classes.items()}
        for some in (spec, paper.datasets["invivo"])
    ]
    assert classes[0] == classes[1]
    assert ours.training_for(name).model_dump(exclude={"epochs"}) == (
        paper.training_for("invivo").model_dump(exclude={"epochs"})
    )


KEYS_TABLES = [
    "Study", "Synthetic", "File", "DeepSea", "DeepSeaClass", "Model", "Conv", "CustomModel",
    "TrainingSettings", "OutputBias", "Plateau", "MotifSettings", "Trim", "MatchSettings",
    "AnalysisSettings", "FigureSpec", "Expected", "Claim",
]  # fmt: skip


def test_every_key_is_told_with_its_default() -> None:
    parts = {name: p for name, p in json_schema()["$defs"].items() if not name.endswith("Patch")}
    found = rows("docs/studies.md", "key")
    assert len(found) == len(KEYS_TABLES) == len(parts)
    for name, table in zip(KEYS_TABLES, found, strict=True):
        part, told = parts[name], {words(row[0])[0]: row for row in table[1:]}
        assert set(told) == set(part["properties"]), name
        for key, row in told.items():
            spec = part["properties"][key]
            where = f"{name}.{key}"
            assert (row[1] == "required") == (key in part.get("required", [])), where
            if "default" in spec:
                assert YAML(typ="safe").load(words(row[1])[0]) == spec["default"], where
            choices = spec.get("enum", [spec["const"]] if "const" in spec else [])
            for choice in choices:
                assert f"`{choice}`" in " ".join(row[1:]), f"{where}: {choice}"


def test_presets_are_told() -> None:
    from motifk8s.study.specs import AnalysisSettings, MotifSettings, TrainingSettings

    found = dict(zip(KEYS_TABLES, rows("docs/studies.md", "key"), strict=True))
    for spec, preset in (
        (TrainingSettings, "as-written"),
        (MotifSettings, "as-written"),
        (AnalysisSettings, "none"),
    ):
        table = found[spec.__name__]
        column = table[0].index(f"`{preset}`")
        told = {
            words(row[0])[0]: YAML(typ="safe").load(words(row[column])[0])
            for row in table[1:]
            if words(row[column])
        }
        assert told == spec.presets[preset]


def test_the_readme_names_every_builtin_study() -> None:
    assert set(builtin_names()) <= set(inline("README.md"))


@pytest.mark.parametrize("page", ["README.md", "docs/studies.md"])
def test_studies_in_the_pages_load(page: str) -> None:
    found = blocks(page, "yaml")
    assert found
    for block in found:
        assert loads(block, page, ROOT / "examples").cells()


# --- the example


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("own") / "own-data.h5"
    script = ROOT / "examples" / "make_own_data.py"
    done = subprocess.run(
        [sys.executable, "-B", str(script), str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return path


def test_the_example_loads_and_fits_its_data(own_data: Path) -> None:
    path = ROOT / "examples" / "own-study.yaml"
    study = load(str(path))
    spec: Any = study.datasets["mine"]
    assert Path(spec.path) == path.parent / own_data.name
    dataset = read(own_data, list(spec.motif_ids))
    assert dataset.codes.shape[1] == spec.length
    assert describe(dataset)["sequences"] == {"train": 1400, "valid": 200, "test": 400}
    plain = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    jsonschema.validate(plain, json_schema(), jsonschema.Draft202012Validator)


def test_the_short_example_is_the_example() -> None:
    block = blocks("docs/studies.md", "yaml")[0]
    short, whole = loads(block, "docs"), load(str(ROOT / "examples" / "own-study.yaml"))
    assert (short.name, short.trials) == (whole.name, whole.trials)
    assert short.datasets["mine"].motif_ids == whole.datasets["mine"].motif_ids
    for name, model in short.models.items():
        assert model.conv == whole.models[name].conv


# --- the store


def columns(name: str) -> list[str]:
    """First column of the table under a heading of docs/store.md, in order."""
    part = text("docs/store.md").partition(name)[2]
    table = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)
    assert table
    lines = [row.strip("| ").split(" | ")[0] for row in table.group().splitlines()[2:]]
    return [word for line in lines for word in words(line)]


def test_columns_are_told() -> None:
    assert columns("## results.csv") == tables.RESULTS
    assert sorted(columns("## comparison.csv")) == sorted(comparison.COLUMNS)
    assert sorted(columns("## claims.csv")) == sorted(claims.COLUMNS)
    assert columns("## motifs.csv") == found.COLUMNS
    assert columns("## motif-filters.csv") == found.FILTERS
    part = text("docs/store.md")
    assert all(f"`{column}`" in part for column in COLUMNS)
    for name, told in analysis.TABLES.items():
        assert columns(f"**{name}.csv**") == list(told)
    row = next(r for r in rows("docs/store.md", "column")[1] if r[0].startswith("`X_mean`"))
    assert words(row[1]) == list(tables.MEASURES)
    row = next(r for r in rows("docs/store.md", "column")[1] if r[0].startswith("`published_X"))
    assert [w.rpartition("_")[2] for w in words(row[0])] == list(tables.PUBLISHED)
    assert words(row[1]) == list(tables.COMPARED)


def test_stages_states_and_exit_codes_are_told() -> None:
    [stages] = rows("docs/store.md", "stage")
    assert tuple(row[0] for row in stages[1:]) == STAGES
    [states] = rows("docs/store.md", "state")
    known = re.findall(r'"(\w+)"', State.__doc__ or "")
    assert sorted(row[0] for row in states[1:]) == sorted(set(known))
    kinds = (errors.Problem, errors.InputError, errors.IncompleteError, errors.Interrupted)
    [codes] = rows("docs/store.md", "code")
    assert [int(row[0]) for row in codes[1:]] == [0, *(kind.exit_code for kind in kinds)]
    readme = " ".join(text("README.md").split())
    for number in (0, *(kind.exit_code for kind in kinds)):
        assert re.search(rf"\b{number} (done|failed|usage|incomplete|stopped)", readme)

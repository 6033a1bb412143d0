"""The house rules that no linter checks: mirrors, names, who imports whom."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE, TESTS = REPOSITORY / "espnet2_bspmpnet", REPOSITORY / "tests"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
# Modules and wings without mirrors, as they hold no logic of their own: what runs them.
RUN_BY = {
    "bin/enh_scoring": "bin/test_stock_commands.py",
    "bin/pack": "bin/test_stock_commands.py",
    "commands": "test_cli.py",
    "inference/events": "inference/test_batches.py",
    "plugin/_site": "plugin/test_python_launcher.py",
}


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE).with_suffix(""))


def imported(path: Path) -> Iterator[str]:
    """Find the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_module_has_a_mirror_in_tests():
    missing, unused = [], set(RUN_BY)
    for path in MODULES:
        wing = path.parent.relative_to(PACKAGE)
        mirror = TESTS / wing / f"test_{path.stem}.py"
        for part in (name(path), str(wing)):
            if part in RUN_BY:
                mirror = TESTS / RUN_BY[part]
                unused.discard(part)
        if not mirror.is_file():
            missing.append(str(mirror.relative_to(REPOSITORY)))
    assert (missing, unused) == ([], set())


def test_no_two_public_classes_share_a_name():
    homes = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name(path))
    assert {cls: found for cls, found in homes.items() if len(found) > 1} == {}


@pytest.mark.parametrize("word", ["utils", "common", "base", "helpers", "misc"])
def test_no_module_is_a_drawer_for_anything(word):
    assert not [path for path in MODULES if word in path.stem.split("_")]


def test_the_package_benchmarks_and_tests_are_apart():
    for folder, others in (
        (PACKAGE, {"tests", "benchmarks"}),
        (REPOSITORY / "benchmarks", {"tests"}),
        (TESTS, {"benchmarks"}),
    ):
        for path in folder.rglob("*.py"):
            assert not {module.split(".")[0] for module in imported(path)} & others, (
                path
            )


def test_nothing_is_looked_for_outside_the_repository():
    for folder in (PACKAGE, TESTS, REPOSITORY / "benchmarks"):
        for path in folder.rglob("*.py"):
            parents = [
                node.slice.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Subscript)
                and getattr(node.value, "attr", "") == "parents"
                and isinstance(node.slice, ast.Constant)
            ]
            depth = len(path.relative_to(REPOSITORY).parts) - 1
            assert all(parent <= depth for parent in parents), path

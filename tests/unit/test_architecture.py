"""The rules of the code that a linter does not know."""

from __future__ import annotations

import ast
import copy
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from itertools import combinations
from pathlib import Path

import pytest
from contract import plain, section, tables

import otel_mongo_apm

PACKAGE = Path(otel_mongo_apm.__file__).parent
DESIGN = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")


def named(path):
    """A module's name within the package; a package's own is the folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


PATHS = {named(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [*PATHS]
# From the top down, as docs/design.md has them.
PACKAGES = [plain(row[0]) for row in tables(section(DESIGN, "## Packages"), "package")]
TOP = ("__init__", "__main__", "_version", "environment_variables")
LISTENERS = ("_commands.listener", "_pools.listener", "_cluster.listener")

PRIVATE = re.compile(r"_[A-Za-z]\w*")
LOOKUPS = {"delattr", "get", "getattr", "hasattr", "pop", "setattr"}


@cache
def tree(module):
    return ast.parse(PATHS[module].read_text(encoding="utf-8"), str(PATHS[module]))


class _Types(ast.NodeTransformer):
    """Leaves out what only type checkers see."""

    def visit_If(self, node):
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


@cache
def at_run_time(module):
    return _Types().visit(copy.deepcopy(tree(module)))


def imports(module):
    """The modules of the package that one imports, even if it is only for their types."""
    path = PATHS[module]
    base = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.ImportFrom):
            continue
        dotted = (node.module or "").split(".") if node.module else []
        if node.level:
            dotted = [*base[: len(base) - node.level + 1], *dotted]
        elif dotted[:1] == [otel_mongo_apm.__name__]:
            dotted = dotted[1:]
        else:
            continue
        for alias in node.names:
            candidates = (".".join([*dotted, alias.name]), ".".join(dotted) or "__init__")
            yield next(name for name in candidates if name in PATHS)


def package(module):
    """The package that a module is in; none of the few at the top."""
    return module.partition(".")[0] if module not in TOP else None


def places(module, nodes):
    return [f"{module}.py:{node.lineno}: {ast.unparse(node)}" for node in nodes]


def in_all_modules(*exceptions):
    return pytest.mark.parametrize("module", [m for m in MODULES if m not in exceptions])


def test_every_package_is_in_the_table():
    """docs/design.md has each package; beside them are only a few modules at the top."""
    assert sorted(PACKAGES) == sorted({package(module) for module in MODULES} - {None})
    assert {module for module in MODULES if package(module) is None} == set(TOP)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_module_is_in_its_table(name):
    """docs/design.md has a table of each package's modules, with all of them."""
    listed = [plain(row[0]) for row in tables(section(DESIGN, f"### `{name}`"), "module")]
    modules = [module.removeprefix(f"{name}.") for module in MODULES if package(module) == name]

    assert sorted(listed) == sorted(module for module in modules if module != name)


@in_all_modules()
def test_imports_point_down(module):
    """A package imports only from those below its own, not even types from one above."""
    own = package(module)
    below = PACKAGES[PACKAGES.index(own) + 1 :] if own else PACKAGES
    allowed = {own, *below, None}
    upwards = {each for each in imports(module) if package(each) not in allowed}

    assert upwards == set()


def test_no_circles():
    """No module imports itself by way of others, not even for types."""
    TopologicalSorter({module: set(imports(module)) for module in MODULES}).prepare()


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_are_their_docstring(name):
    """A package's own module says what its subject is, and gives nothing else out."""
    (docstring,) = tree(name).body

    assert ast.get_docstring(tree(name)) == docstring.value.value.strip()


@pytest.mark.parametrize(("one", "other"), [*combinations(LISTENERS, 2)])
def test_listeners_do_not_import_each_other(one, other):
    """No listener knows another, not even its type."""
    assert other not in imports(one)
    assert one not in imports(other)


# The only module that touches what OpenTelemetry's SDK keeps to itself.
SDK = "_otel.bound"


def private_names(tree):
    """Where a tree has names with an underscore that are not of `self`, or looks one up."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name("self" | "cls") | ast.Call(func=ast.Name("super"))):
                pass
            case ast.Attribute(attr=name) if PRIVATE.fullmatch(name):
                yield node
            case ast.ImportFrom(module=str(module), level=0, names=names):
                if module.startswith(("pymongo", "bson", "motor")):
                    dotted = [*module.split("."), *(alias.name for alias in names)]
                    yield from [node] if any(map(PRIVATE.fullmatch, dotted)) else []
            case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)) if name in LOOKUPS:
                texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                yield from [
                    node for text in texts if isinstance(text, str) and PRIVATE.fullmatch(text)
                ]


@in_all_modules(SDK, *(module for module in MODULES if package(module) == "_driver"))
def test_private_names(module):
    """Only `_driver` touches what PyMongo keeps to itself, and one module what the SDK does."""
    assert places(module, private_names(at_run_time(module))) == []


@in_all_modules(*(module for module in MODULES if package(module) == "_driver"))
def test_versions(module):
    """Only `_driver` asks for PyMongo's version."""
    asks = [
        node
        for node in ast.walk(tree(module))
        if (isinstance(node, ast.Attribute) and node.attr in {"version", "version_tuple"})
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("pymongo")
            and {alias.name for alias in node.names} & {"version", "version_tuple", "_version"}
        )
    ]

    assert places(module, asks) == []


def test_private_names_of_the_sdk():
    """At most one module, of `_otel`, touches what the OpenTelemetry SDK keeps to itself."""
    found = {
        module
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("opentelemetry.sdk")
        and any(
            map(PRIVATE.fullmatch, [*node.module.split("."), *(alias.name for alias in node.names)])
        )
    }

    assert len(found) <= 1
    assert {package(module) for module in found} <= {"_otel"}


def docstrings(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node) is not None:
                    yield node.body[0].value


@in_all_modules("_otel.semconv")
def test_literal_names(module):
    """Names of attributes and metrics are written in `_otel.semconv` and nowhere else."""
    documentation = set(docstrings(tree(module)))
    literals = [
        node
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Constant)
        and node not in documentation
        and isinstance(node.value, str)
        and node.value.startswith(("db.", "mongodb.", "server."))
    ]

    assert places(module, literals) == []


def catches_all(handler):
    """Whether a handler takes every exception and keeps it."""
    caught = "BaseException" if handler.type is None else ast.unparse(handler.type)
    raises_again = any(isinstance(node, ast.Raise) and not node.exc for node in handler.body)
    return bool(re.search(r"\b(Base)?Exception\b", caught)) and not raises_again


def test_where_all_is_caught():
    """Every exception is caught in one module only; elsewhere it is raised again."""
    found = {
        module
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler) and catches_all(node)
    }

    assert found == {"_otel.shield"}


@pytest.mark.parametrize(
    "statement",
    [
        "import otel_mongo_apm",
        "from otel_mongo_apm import MongoInstrumentor, Settings, RequestHook",
        "import otel_mongo_apm.environment_variables",
    ],
)
def test_light_imports(statement):
    """To import the package imports neither PyMongo nor the OpenTelemetry SDK."""
    heavy = "[m for m in sys.modules if m.split('.')[0] in ('bson', 'pymongo') or '.sdk' in m]"
    command = [sys.executable, "-c", f"import sys; {statement}; print({heavy})"]

    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"

"""The rules of the code that a linter does not know."""

from __future__ import annotations

import ast
import copy
import re
import subprocess
import sys
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

import otel_mongo_apm

PACKAGE = Path(otel_mongo_apm.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
LISTENERS = ("_commands", "_pools", "_cluster")

# From the top down. A module imports only from layers below its own.
LAYERS = (
    {"__main__"},
    {"_cli"},
    {"_diagnosis", "_text"},
    {"_hooks", "_sources", "_trial"},
    {"__init__"},
    {"_instrumentor"},
    {"_construction", "_existing"},
    {"_client"},
    {"_closing", "_selection", "_wrapped_calls"},
    {"_transactions"},
    {"_traced_clients"},
    set(LISTENERS),
    {"_mongodb_spans"},
    {"_telemetry", "_command_spans"},
    {"_instruments", "_cluster_state"},
    {"_observations", "_conventions", "_cluster_spans"},
    {"_descriptions", "_exclusions", "_waits", "_client_reference"},
    {"_api_calls", "_operations"},
    {"_attributes", "_compat", "_cluster_log", "_configuration", "_memory"},
    {
        "_callers",
        "_connections",
        "_cursors",
        "_inflight",
        "_installed",
        "_outcome",
        "_query_text",
        "_secrets",
        "_semconv",
        "_settings",
        "_shield",
        "_suppression",
        "_timeline",
        "_wrapping",
    },
    {"_conflicts"},
    {"_version", "environment_variables"},
)
DEPTHS = {module: depth for depth, layer in enumerate(LAYERS) for module in layer}

PRIVATE = re.compile(r"_[A-Za-z]\w*")
LOOKUPS = {"delattr", "get", "getattr", "hasattr", "pop", "setattr"}


@cache
def tree(module):
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"), f"{module}.py")


class _Types(ast.NodeTransformer):
    """Leaves out what only type checkers see."""

    def visit_If(self, node):
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


@cache
def at_run_time(module):
    return _Types().visit(copy.deepcopy(tree(module)))


def imports(tree):
    """The modules of the package that are imported in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from [node.module] if node.module else [alias.name for alias in node.names]


def places(module, nodes):
    return [f"{module}.py:{node.lineno}: {ast.unparse(node)}" for node in nodes]


def in_all_modules(*exceptions):
    return pytest.mark.parametrize("module", [m for m in MODULES if m not in exceptions])


def test_every_module_has_a_layer():
    """Each module belongs to one layer."""
    assert sorted(module for layer in LAYERS for module in layer) == MODULES


@in_all_modules()
def test_imports_point_down(module):
    """A module imports only from layers below its own; what only types need is free."""
    upwards = {each for each in imports(at_run_time(module)) if DEPTHS[each] <= DEPTHS[module]}

    assert upwards == set()


@pytest.mark.parametrize(("one", "other"), [*combinations(LISTENERS, 2)])
def test_listeners_do_not_import_each_other(one, other):
    """No listener knows another, not even its type."""
    assert other not in imports(tree(one))
    assert one not in imports(tree(other))


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


@in_all_modules("_api_calls", "_compat")
def test_private_names(module):
    """Only `_compat`, and of operations `_api_calls`, touch what PyMongo keeps to itself."""
    assert places(module, private_names(at_run_time(module))) == []


@in_all_modules("_compat")
def test_versions(module):
    """Only `_compat` asks for PyMongo's version."""
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


def docstrings(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node) is not None:
                    yield node.body[0].value


@in_all_modules("_semconv")
def test_literal_names(module):
    """Names of attributes and metrics are written in `_semconv` and nowhere else."""
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

    assert found == {"_shield"}


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

"""The surface that users import, and the texts that point at it."""

import ast
import inspect
from pathlib import Path

import pytest

import radhard as rh

SOURCE = Path(inspect.getsourcefile(rh))


def test_public_names_are_those_type_checkers_see() -> None:
    tree = ast.parse(SOURCE.read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in guarded.body for alias in node.names}
    assert imported == set(rh.__all__) == set(dir(rh))


def test_every_public_name_exists_and_is_documented() -> None:
    for name in rh.__all__:
        value = getattr(rh, name)
        assert inspect.getdoc(value), name


def test_no_public_name_is_that_of_a_room() -> None:
    rooms = {part.stem for part in SOURCE.parent.iterdir()} - {"__init__", "__pycache__"}
    assert not rooms & set(rh.__all__)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="radhard has no 'nothing'"):
        getattr(rh, "nothing")  # noqa: B009 - mypy would object to the plain form

"""Show records of options in the reference of Python by their values, not by their source."""

from __future__ import annotations

from typing import Any

import griffe


class Options(griffe.Extension):
    """Take the default of an option for its value, and the docstring that a record has at run time.

    A field is declared as ``name: type = option(default, help, ...)``, and the decorator
    ``documented`` writes the section ``Parameters`` from these.
    """

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Replace ``option(default, ...)`` by the default; a required option has none."""
        value = attr.value
        if isinstance(value, griffe.ExprCall) and str(value.function) == "option":
            default = value.arguments[0]
            attr.value = None if str(default).endswith("MISSING") else default

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Read the docstring of a documented record from the imported class."""
        if any(str(decorator.value) == "documented" for decorator in cls.decorators):
            docstring = griffe.dynamic_import(cls.path).__doc__
            cls.docstring = griffe.Docstring(docstring, parent=cls)

"""The options of a training run as a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from clr_train.config import TrainConfig
from pilarnet_convert.options import OptionError

__all__ = ["read_config", "write_config"]


def read_config(path: str | Path) -> dict[str, Any]:
    """Read options from a TOML file.

    Parameters
    ----------
    path : path
        Keys are flags without the leading dashes; ``batch-size`` and ``batch_size`` are the same.

    Returns
    -------
    dict
        Options by field name; not yet checked against their limits.

    Raises
    ------
    OptionError
        The file does not exist or is not TOML, or a key is not an option.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionError("no such file", file=path, field="--config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError("not a TOML file", file=path, found=error) from None
    options = {key.replace("-", "_"): value for key, value in table.items()}
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    for name in options.keys() - known:
        raise OptionError(
            "unknown option", file=path, field=name, advice="see clr-train --help for the names"
        )
    return options


def write_config(path: str | Path, *, config: TrainConfig) -> None:
    """Write the options as TOML for `read_config`; options that are None are left out."""
    lines = [
        f"{name} = {_toml(value)}" for name, value in config.to_dict().items() if value is not None
    ]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = "".join(
            {"\\": "\\\\", '"': '\\"'}.get(c, c if c.isprintable() else f"\\U{ord(c):08x}")
            for c in value
        )
        return f'"{escaped}"'
    # repr gives valid TOML for every float, also for 1e-05 and inf.
    return repr(value)

"""What goes between the process that was called and the one that runs the code: JSON, nothing that runs.

The request and the reply are a file each in a temporary folder; progress is a line of JSON each.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ....runtime import errors
from ....runtime.data.dataset import FeatureSources
from ....runtime.errors import GatescopeError
from ....runtime.gates.vocabulary import FileFormat
from ...families.choices import Choices
from ...graph.variant import Variant
from ...proof.verify import VerifyRequest

# What a line of progress is: something to show, what is being done, or a warning.
LineKind = Literal["tell", "doing", "warning"]


@dataclass(frozen=True)
class CodeRequest:
    """Everything the code's own process needs.

    - ``places``: top-level module → its folder or file; ``lacking``: modules that get a stand-in; ``folder``:
      where the code lies; ``label``: what it is called.
    - ``temporary``: a folder of ours, which goes when nobody waits for the reply any more.
    - ``module``, ``factory``: the function that builds the model. ``branch``: its name in the manifest.
    - The rest as :func:`~gatescope.export.user.export.export_user_model` takes it.
    """

    places: dict[str, Path]
    lacking: tuple[str, ...]
    folder: Path
    temporary: Path
    label: str
    module: str
    factory: str
    branch: str
    checkpoint: Path
    target: Path
    kind: FileFormat
    choices: Choices
    variant: Variant
    opset: int
    verification: VerifyRequest | None


_SENT = {kind.__name__: kind for kind in (CodeRequest, Choices, Variant, VerifyRequest, FeatureSources)}


def write_request(request: CodeRequest, path: Path) -> None:
    """Write ``request`` with its paths made absolute: the other process runs in another folder."""
    path.write_text(json.dumps(_plain(request)), encoding="utf-8")


def read_request(path: Path) -> CodeRequest:
    """What :func:`write_request` wrote."""
    return _rebuilt(json.loads(path.read_text(encoding="utf-8")))


def error_document(error: GatescopeError) -> dict[str, Any]:
    """``error`` as JSON: its class and the parts of its message."""
    more = {
        name: getattr(error, name) for name in ("facts", "samples", "module", "extra") if hasattr(error, name)
    }
    parts = {name: getattr(error, name) for name in ("problem", "received", "expected", "fix")}
    return {"class": type(error).__name__, "parts": parts, "more": more}


def error_from(document: dict[str, Any]) -> GatescopeError:
    """The error of :func:`error_document`, of the same class and with the same message."""
    kind = cast(type[GatescopeError], getattr(errors, document["class"], GatescopeError))
    error = kind.__new__(kind)
    # Some classes make the message from arguments of their own; here it is already made.
    GatescopeError.__init__(error, **document["parts"])
    for name, value in document["more"].items():
        setattr(error, name, tuple(value) if name == "facts" else value)
    return error


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": str(value.absolute())}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
        return {"class": type(value).__name__, "fields": inner}
    if isinstance(value, dict):
        return {"dict": {key: _plain(one) for key, one in cast(dict[str, Any], value).items()}}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in cast(tuple[Any, ...], value)]
    return value


def _rebuilt(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_rebuilt(one) for one in cast(list[Any], value))
    if not isinstance(value, dict):
        return value
    document = cast(dict[str, Any], value)
    if "path" in document:
        return Path(document["path"])
    inner = {
        name: _rebuilt(one)
        for name, one in cast(dict[str, Any], document.get("fields") or document.get("dict") or {}).items()
    }
    return _SENT[document["class"]](**inner) if "class" in document else inner

"""Finds the gated fusion of a model by its structure, whatever its modules and classes are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ...runtime.errors import UnsupportedModelError
from ...runtime.gates.vocabulary import ActsAs
from ..families.family import FAMILIES
from .branches import Branches, Sureness, gate_branches

_LOOKED_FOR = (
    "fusion layers, each with a module that returns an attention and an FFN gate: two perceptrons (or more) "
    "from the same features to one channel, or from the joint features (2d) to d channels"
)


@dataclass(frozen=True)
class GateLayer:
    """One fusion layer; all names are from the model's root.

    - ``owners``: the modules that may return its gates, outermost first; the layer itself where it computes
      them without a module of their own (``inline``).
    - ``branches``: the modules that compute one gate each, before whatever bounds it.
    """

    name: str
    owners: tuple[str, ...]
    branches: tuple[str, ...]
    inline: bool


@dataclass(frozen=True)
class GatedFusion:
    """A gated fusion: the module ``name`` ("" is the model itself) and its layers in order.

    ``channels``: of the branches that compute the gates: 1, or d for elementwise gates.
    """

    name: str
    layers: tuple[GateLayer, ...]
    channels: tuple[int, ...]

    def __str__(self) -> str:
        owners = ", ".join(layer.owners[-1] for layer in self.layers[:2])
        more = f" and {len(self.layers) - 2} more" if len(self.layers) > 2 else ""
        return f"{self.name or 'the model itself'} (gates in {owners}{more})"


@dataclass(frozen=True)
class _Candidate:
    name: str
    layer: str
    container: str
    fusion: str
    repeated: bool
    branches: Branches

    @property
    def order(self) -> tuple[int, int]:
        """What to believe first: several equal layers, then how sure the structure is."""
        unsure = self.branches.sureness > Sureness.JOINT_LINEAR
        return (2 if unsure else 0 if self.repeated else 1, self.branches.sureness)


def acts_as(model: nn.Module, owners: Iterable[str], kind: str) -> ActsAs:
    """What the gate ``kind`` of the modules ``owners`` multiplies its branch by, as far as parameters show.

    FiLM keeps the whole FFN branch and adds a shift with a learned scale: 1 + g. It is known by the names
    that the families' training code gives that scale; other code that does the same is taken for g.
    """
    if kind != "ffn":
        return "g"
    owned = (model.get_submodule(owner).named_parameters() for owner in owners)
    scales = {family.film_parameter for family in FAMILIES.values()} - {None}
    film = any(name.rpartition(".")[2] in scales for parameters in owned for name, _ in parameters)
    return "1+g" if film else "g"


def find_fusion(model: nn.Module, name: str | None = None) -> GatedFusion:
    """The gated fusion of ``model``; ``name`` chooses one by its module's name where there are several.

    Raises :class:`~gatescope.runtime.errors.UnsupportedModelError` where there is none, or more than one to
    choose from.
    """
    fusions = fusions_of(model)
    if name is not None:
        for fusion in fusions:
            if fusion.name == name:
                return fusion
        raise UnsupportedModelError(
            f"there is no gated fusion called '{name}' in this model",
            expected="; ".join(map(str, fusions)) or _LOOKED_FOR,
        )
    if not fusions:
        tops = [f"{child} ({type(module).__name__})" for child, module in model.named_children()]
        raise UnsupportedModelError(
            f"no gated fusion was found in this {type(model).__name__}",
            received=f"modules {', '.join(tops) or 'none'}",
            expected=_LOOKED_FOR,
            fix="where gates are computed otherwise, move that into a module of each fusion layer that "
            "returns (attention gate, ffn gate)",
        )
    if len(fusions) > 1:
        raise UnsupportedModelError(
            f"this {type(model).__name__} has {len(fusions)} gated fusions",
            received="; ".join(map(str, fusions)),
            expected="one",
            fix=f"say which: adapt_legacy_model(model, fusion={fusions[0].name!r})",
        )
    return fusions[0]


def not_called(layer: GateLayer) -> UnsupportedModelError:
    """The error for a forward pass in which none of the owners of the layer's gates was called."""
    return UnsupportedModelError(
        f"the forward pass did not call {' or '.join(layer.owners)}",
        expected="every fusion layer runs in every pass, by calling the module and not a method of it",
    )


def no_gates_from(layer: GateLayer, received: str, *, branches_read: bool = False) -> UnsupportedModelError:
    """The error for a layer whose modules were called and did not return two gates, but ``received``.

    ``branches_read``: whether gates are also read where each branch bounds its own.
    """
    inline = "the layer computes its gates itself: let it return (stream, attention gate, ffn gate), "
    inline += (
        "move the gates into a module that returns them, or put the activation into each branch"
        if branches_read
        else "or move the gates into a module that returns them"
    )
    return UnsupportedModelError(
        f"{layer.owners[-1]} does not return an attention and an FFN gate",
        received=received,
        expected="two tensors (B, 1), (B, 1, 1), (B, L, 1) or (B, L, d) in a tuple, list or dict",
        fix=inline
        if layer.inline
        else "let that module return (attention gate, ffn gate), bounded as they are used",
    )


def fusions_of(model: nn.Module) -> list[GatedFusion]:
    """The gated fusions of ``model`` that are as sure as the surest one, by parameters alone."""
    candidates = [
        candidate for name, module in model.named_modules() if (candidate := _candidate(model, name, module))
    ]
    best = min((candidate.order for candidate in candidates), default=None)
    candidates = [candidate for candidate in candidates if candidate.order == best]
    # A module around a gating function is not one of its own.
    candidates = [
        one for one in candidates if not any(other.name.startswith(f"{one.name}.") for other in candidates)
    ]
    groups: dict[tuple[str, str], list[_Candidate]] = {}
    for one in candidates:
        groups.setdefault((one.container, one.name[len(one.layer) :]), []).append(one)
    owners = [group[0].fusion for group in groups.values()]
    return [
        GatedFusion(
            # Two stacks of layers in one module differ by the stack's name.
            group[0].fusion if owners.count(group[0].fusion) == 1 else group[0].container,
            tuple(_layer(model, one) for one in group),
            _channels(group[0].branches),
        )
        for group in groups.values()
    ]


def _channels(branches: Branches) -> tuple[int, ...]:
    if branches.sureness is Sureness.PACKED:
        return (1,) * branches.gates[0].outputs
    return tuple(branch.outputs for branch in branches.gates)


def _candidate(model: nn.Module, name: str, module: nn.Module) -> _Candidate | None:
    branches = gate_branches(module) if name else None
    if branches is None:
        return None
    parts = name.split(".")
    numbered = [
        place for place in range(1, len(parts)) if parts[place].isdecimal() and _holds(model, parts[:place])
    ]
    if numbered:
        layer = ".".join(parts[: numbered[-1] + 1])
        container = ".".join(parts[: numbered[0]])
        called = isinstance(model.get_submodule(container), nn.Sequential)
        fusion = container if called else ".".join(parts[: numbered[0] - 1])
    else:
        layer = container = fusion = ".".join(parts[:-1]) or name
    repeated = bool(numbered)
    unsure = branches.sureness > Sureness.JOINT_LINEAR
    if unsure and (not repeated or layer == name):
        return None
    return _Candidate(name, layer, container, fusion, repeated, branches)


def _holds(model: nn.Module, parts: list[str]) -> bool:
    return isinstance(model.get_submodule(".".join(parts)), (nn.ModuleList, nn.Sequential, nn.ModuleDict))


def _layer(model: nn.Module, one: _Candidate) -> GateLayer:
    parts = one.name.split(".")
    within = one.name != one.layer
    first = len(one.layer.split(".")) + (1 if within else 0)
    owners = [".".join(parts[:end]) for end in range(first, len(parts) + 1)]
    callable_owners = tuple(
        owner
        for owner in owners
        if not isinstance(model.get_submodule(owner), (nn.ModuleList, nn.ModuleDict))
    )
    branches = tuple(f"{one.name}.{branch.name}" for branch in one.branches.gates)
    return GateLayer(one.layer, callable_owners, branches, inline=not within and not one.branches.alone)

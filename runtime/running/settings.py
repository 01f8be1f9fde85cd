"""How a dataset is run: on which device, in which batches, and whether an interrupted run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..data.dataset import BATCH_SIZE, AnyPath, Dataset, DatasetOptions
from ..errors import UsageError
from ..session.device import DeviceOptions
from ..session.session import GateSession


class RunOptions(DatasetOptions, total=False):
    """Keywords of a function that runs a dataset; see :class:`Dataset` and :class:`RunSettings`."""

    device: str
    tf32: bool
    cuda_graphs: bool
    batch_size: int | None
    resume: bool


@dataclass(frozen=True)
class RunSettings:
    """How to run a model.

    - ``device``: where, and how it is used. ``batch_size``: samples in a batch; None: the command's default.
    - ``resume``: go on with the unfinished run in the output folder; where there is none, start one.
    """

    device: DeviceOptions = field(default_factory=DeviceOptions)
    batch_size: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError("--batch-size must be at least 1", received=str(self.batch_size))

    @property
    def samples_per_batch(self) -> int:
        """``batch_size``, or the usual one."""
        return self.batch_size or BATCH_SIZE

    def open(self, model: Path) -> GateSession:
        """The session of the file ``model``; raises what :class:`GateSession` raises."""
        wanted = self.device
        return GateSession(
            model,
            device=wanted.device,
            threads=wanted.threads,
            tf32=wanted.tf32,
            cuda_graphs=wanted.cuda_graphs,
        )

    def words(self) -> list[str]:
        """As options of a command: what decides which numbers it gives."""
        switches = {"--tf32": self.device.tf32, "--cuda-graphs": self.device.cuda_graphs}
        return [
            *(flag for flag, given in switches.items() if given),
            *("--device", self.device.device, "--batch-size", str(self.samples_per_batch)),
        ]


def split_options(
    annotations: AnyPath, features: AnyPath | None, options: RunOptions
) -> tuple[Dataset, RunSettings]:
    """The objects that the keywords of a function stand for."""
    settings = RunSettings(
        DeviceOptions(
            options.get("device", "auto"),
            tf32=options.get("tf32", False),
            cuda_graphs=options.get("cuda_graphs", False),
        ),
        options.get("batch_size"),
        options.get("resume", False),
    )
    own = RunOptions.__annotations__.keys() - DatasetOptions.__annotations__.keys()
    of_dataset: DatasetOptions = {name: value for name, value in options.items() if name not in own}  # pyright: ignore[reportAssignmentType]
    return Dataset.of(annotations, features, **of_dataset), settings

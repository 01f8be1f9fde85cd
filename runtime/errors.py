"""Every error a user of gatescope can meet, and the shape of its message.

GatescopeError                  exit code 1
├── UsageError                  exit code 2: flags that contradict each other or the input
├── MissingExtraError           an optional dependency is not installed
├── UnsupportedTorchError       the installed PyTorch is older than any that works
├── CheckpointError             the checkpoint cannot be read, or is not one
│   ├── UnsafeCheckpointError   it asks to load something other than tensors and options
│   ├── WeightsMismatchError    parameters missing, unexpected, misshapen or not finite
│   └── UnknownFactError        heads or gating are recorded nowhere
├── UnsupportedModelError       a model this version cannot rebuild
├── ExportError                 the graph could not be made
│   ├── ParityError             the file does not reproduce the PyTorch model
│   └── VerificationError       the file does not reproduce the user's own predictions
├── ModelFileError              an exported file that cannot be run
│   └── ManifestError           its manifest is absent, damaged or newer than this version
├── DeviceError                 the device asked for is not there
├── OutOfMemoryError            a batch that does not fit, and must not be halved
├── InputError                  arrays that do not fit the manifest
├── DatasetError                annotations or features that cannot be read
│   ├── BadSamplesError         some samples cannot be run; lists the causes
│   ├── UnknownSampleError      exit code 2: an id that no query has
│   └── NoGroundTruthError      annotations that know no right answer, such as a test split's
├── RunFolderError              a run folder that cannot be read or written
│   ├── OutputTakenError        exit code 2: something else is where the output should go
│   ├── RunLockedError          another run holds it
│   └── RunMismatchError        it holds a different run
└── MonitorError                watching cannot begin or go on
    ├── BaselineError           a baseline that cannot be made, read or used
    └── GateLogError            a gate log that cannot be read or written
"""

from __future__ import annotations

from collections.abc import Sequence

from .causes import told_causes


class GatescopeError(Exception):
    """A failure with a name: what came, what was expected, what to do.

    ``str(error)`` is the whole message, one line per part that is known. ``again``: options that, added to
    the command that failed, are what to do; the command line then shows it whole, to be pasted.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        received: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
        again: Sequence[str] = (),
    ) -> None:
        self.problem = problem
        self.received = received
        self.expected = expected
        self.fix = fix
        self.again = tuple(again)
        parts = [problem]
        for label, text in (("received", received), ("expected", expected), ("to do", fix)):
            if text is not None:
                parts.append(f"  {label}: {text}")
        super().__init__("\n".join(parts))


class UsageError(GatescopeError):
    """Flags that contradict each other or the input they are given."""

    exit_code = 2


class MissingExtraError(GatescopeError):
    """An optional dependency is not installed; names the extra that brings it."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"this needs gatescope[{extra}]",
            received=f"an installation without the module '{module}'",
            fix=f"pip install 'gatescope[{extra}]'",
        )
        self.module = module
        self.extra = extra


class UnsupportedTorchError(GatescopeError):
    """The installed PyTorch is older than any that gatescope works with; raised before it is imported."""


class CheckpointError(GatescopeError):
    """The checkpoint cannot be read, or is not a checkpoint of a gated model."""


class UnsafeCheckpointError(CheckpointError):
    """The pickle asks for a global other than tensors and ``argparse.Namespace``; nothing was executed."""


class WeightsMismatchError(CheckpointError):
    """Parameters are missing, unexpected, misshapen or not finite; the message lists them."""


class UnknownFactError(CheckpointError):
    """Facts the weights do not show are recorded nowhere and were not given.

    ``facts`` names all of them that a flag of the export can tell: ``gating``, ``heads``, ``fusion_heads``.
    """

    def __init__(
        self,
        problem: str,
        *,
        facts: Sequence[str] = (),
        received: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(problem, received=received, expected=expected, fix=fix)
        self.facts = tuple(facts)


class UnsupportedModelError(GatescopeError):
    """A model this version cannot rebuild exactly."""


class ExportError(GatescopeError):
    """The graph could not be made."""


class ParityError(ExportError):
    """The exported file does not reproduce the PyTorch model within the tolerance."""


class VerificationError(ExportError):
    """The export does not reproduce the predictions that training left behind."""


class ModelFileError(GatescopeError):
    """An exported file that cannot be run."""


class ManifestError(ModelFileError):
    """The manifest is absent, damaged, or of a newer format than this version reads."""


class DeviceError(GatescopeError):
    """The device asked for is not there, or did not get the model."""


class OutOfMemoryError(GatescopeError):
    """Memory ran out and nothing smaller may be tried."""


class InputError(GatescopeError):
    """Arrays that do not fit what the manifest declares."""


class DatasetError(GatescopeError):
    """Annotations or features that cannot be read."""


class BadSamplesError(DatasetError):
    """Some samples of a dataset cannot be run. ``samples`` holds (sample id, reason) pairs of all of them.

    The message has one line per cause.
    """

    def __init__(self, samples: Sequence[tuple[str, str]], total: int) -> None:
        every = len(samples) == total
        super().__init__(
            f"{len(samples)} of {total} samples cannot be run; nothing was written\n    "
            + "\n    ".join(told_causes(samples, "sample", total)),
            expected="readable, finite features of the widths the model was trained on, for every sample",
            fix="check that these features are of these annotations and of what the model was trained on"
            if every
            else "fix these files, or pass --skip-bad to go on without these samples",
        )
        self.samples = list(samples)


class UnknownSampleError(DatasetError):
    """Ids were asked for that no query of the dataset has."""

    exit_code = 2


class NoGroundTruthError(DatasetError):
    """Annotations that hold queries but nothing to compare predictions with, such as a test split's."""


class RunFolderError(GatescopeError):
    """A run folder that cannot be read or written."""


class OutputTakenError(RunFolderError):
    """Something is where the output should go: a file, another run, or one that was not to be resumed."""

    exit_code = 2


class RunLockedError(RunFolderError):
    """Another process is writing this run folder."""


class RunMismatchError(RunFolderError):
    """The folder holds a run of another model, dataset or configuration."""


class MonitorError(GatescopeError):
    """Watching cannot begin or go on."""


class BaselineError(MonitorError):
    """A baseline that cannot be made, cannot be read, or is of another model."""


class GateLogError(MonitorError):
    """A folder of gate logs that cannot be read or written, or that belongs to another model."""

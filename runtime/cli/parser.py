"""The parser of every command: what cannot be parsed is answered with what was probably meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

# Flags of the scripts this tool follows, and what does the same here.
OLD_FLAGS = {
    "--model_path": "--checkpoint FILE of 'gatescope report' and 'gatescope export'",
    "--data_path": "--annotations FILE",
    "--gating_type": "--gating, of 'gatescope report' and 'gatescope export'",
    "--legacy_model": "not needed: every checkpoint is read as training saved it",
    "--max_samples": "--max-samples N",
    "--compare_samples": "'gatescope analyze run/ --output DIR --compare [ID …]'",
    "--save_raw_data": "'gatescope analyze run/ --output DIR --sample all --raw'",
    "--output_dir": "--output DIR",
    "--quick": "'gatescope demo'",
    "--comprehensive": "'gatescope demo --full'",
}


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that looks at unknown options before it misses required ones.

    Options of the earlier scripts are answered with what replaced them, others with the nearest spelling.
    Subparsers are of the same class.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **options)

    def parse_known_args(self, *args: Any, **options: Any) -> Any:
        """As :class:`argparse.ArgumentParser` does; exits with code 2 where an option is unknown."""
        words = args[0] if args else options.get("args")
        # A user's own command may pass on what follows, or leave it to its subcommands.
        passes_on = any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._actions)
        if words is not None and not passes_on:
            self._refuse_unknown(list(words))
        return super().parse_known_args(*args, **options)

    @property
    def option_names(self) -> list[str]:
        """Every long option, in the order of the help."""
        actions: Iterable[argparse.Action] = self._actions
        return [name for action in actions for name in action.option_strings if name.startswith("--")]

    def _refuse_unknown(self, arguments: Sequence[str]) -> None:
        known = self.option_names
        given = arguments[: arguments.index("--")] if "--" in arguments else arguments
        flags = [word.partition("=")[0] for word in given if word.startswith("--")]
        unknown = list(dict.fromkeys(flag for flag in flags if flag not in known))
        if unknown:
            self.error("\n  ".join(["unknown options:", *(f"{flag}{hint(flag, known)}" for flag in unknown)]))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = [str(one) for one in action.choices or ()]
        if choices and str(value) not in choices:
            there = f"there is no '{value}', there are {', '.join(choices)}"
            raise argparse.ArgumentError(action, there + nearest(str(value), choices))
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message``, and exit with code 2."""
        self.print_usage()
        self.exit(2, f"{self.prog}: error: {message}\n  '{self.prog} --help' shows all options\n")

    def print_usage(self, file: Any = None) -> None:
        """On stderr unless ``file`` says otherwise: nothing but results goes to stdout."""
        super().print_usage(file or sys.stderr)


def hint(flag: str, known: Sequence[str]) -> str:
    """What is said behind an unknown ``flag``, given the ``known`` ones; empty where nothing is near."""
    same = flag.replace("_", "-")
    if same in known:
        return f": here {same}"
    if flag in OLD_FLAGS:
        return f" (of the earlier scripts): {OLD_FLAGS[flag]}"
    return nearest(flag, known)


def nearest(word: str, known: Sequence[str]) -> str:
    """``: did you mean X?`` for the nearest of ``known``; empty where none is near."""
    # Dashes that all options begin with make none of them alike.
    names = {one.lstrip("-"): one for one in known}
    near = get_close_matches(word.lstrip("-"), names, n=1, cutoff=0.6)
    return f": did you mean {names[near[0]]}?" if near else ""

"""Reading a command's arguments: a mistake is one message, with the nearest of what there is."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from mtl_jax.errors import UsageError, did_you_mean


class Parser(argparse.ArgumentParser):
    """Its mistakes are `UsageError`s."""

    def error(self, message: str) -> NoReturn:
        """See `ArgumentParser`."""
        raise UsageError(
            f"{message[0].upper()}{message[1:]}. `{self.prog} --help` lists the flags."
        )


def parse(flags: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads arguments, the program's own if None. Raises UsageError for an unknown one."""
    given, unknown = flags.parse_known_args(arguments)
    if not unknown:
        return given
    name = unknown[0].partition("=")[0]
    known = [option for action in flags._actions for option in action.option_strings]
    hint = did_you_mean(name, known, form="{}")
    if "." in name:
        hint = f" Did you mean --config.{name.lstrip('-')}?"
    what = "flag" if name.startswith("-") else "argument"
    raise UsageError(f"Unknown {what} {name}.{hint or f' `{flags.prog} --help` lists the flags.'}")

"""How a module declares its options: name, default, meaning and check, beside the code.

    OPTIONS = {
        "depth": Option(18, "number of weighted layers", one_of(18, 34)),
        "aspp": {"rates": Option((3, 6, 9), "dilations of its 3×3 convolutions", wholes(least=1))},
        "encoder": Part(encoders, "resnet", "what turns an image into features"),
    }

Where the options are the fields of a frozen dataclass, `option` declares them there, and
`OPTIONS = declared(TheClass)`. `complete` reads a config's section by such a declaration, and
`mtl_jax.options` a whole config.
"""

import dataclasses
import json
import numbers
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from mtl_jax import _discovery
from mtl_jax.errors import ConfigError, did_you_mean, nearest

Check = Callable[[Any], str | None]


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
      default: its value where a config says nothing or None. A mapping makes a section below which
        any name may stand, e.g. one for each task.
      meaning: one line, for people who list the options.
      check: value ─► None, or what was expected instead, e.g. 'a number above 0'. It does not see
        None where that is the default.
      measures: of a task's option: whether it changes what is measured, so that metrics of another
        value of it cannot be compared with.
    """

    default: Any
    meaning: str
    check: Check | None = None
    measures: bool = False


@dataclasses.dataclass(frozen=True)
class Part:
    """A section that chooses a module of a package and holds that module's options.

    Attributes:
      package: its modules have `OPTIONS` each, or it says with `declared(name)` what they have.
        `COMMON` of the package are options that every module has.
      default: the module that is taken where the section names none; '' if it has to name one.
      meaning: one line.
      by: the key of the module's name.
      only: the modules that are possible; () for all.
    """

    package: types.ModuleType
    default: str
    meaning: str
    by: str = "name"
    only: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The modules that there are."""
        return list(self.only) or _discovery.names(self.package)

    def options(self, name: str, *, key: str) -> "Options":
        """All options of the module `name`, those of `COMMON` first.

        Raises:
          ConfigError: there is no such module; `key` is where its name came from.
        """
        if self.only and name not in self.only:
            raise ConfigError(f"{key}={name!r}; expected {' or '.join(self.only)}.")
        if hasattr(self.package, "declared"):
            own = self.package.declared(name)
        else:
            own = _discovery.load(self.package, name, key=key).OPTIONS
        return {**self.common, **own}

    @property
    def common(self) -> "Options":
        """The options that every module has."""
        return getattr(self.package, "COMMON", {})

    def owners(self, option: str) -> list[str]:
        """The modules that have an option of that name."""
        return [name for name in self.names() if option in self.options(name, key=self.by)]


@dataclasses.dataclass(frozen=True)
class Each:
    """A section of names that the user gives, each with a section of one kind below it.

    Attributes:
      part: what is below each name.
      meaning: one line.
    """

    part: Part
    meaning: str


Options = Mapping[str, "Option | Part | Each | Options"]

_METADATA = "option"


def option(default: Any, meaning: str, check: Check | None = None) -> Any:
    """A dataclass field that is an option, with its default, meaning and check.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Method:
    ...     temperature: float = option(2.0, "the larger, the more even", number(above=0))
    >>> Method().temperature
    2.0
    >>> declared(Method)["temperature"].meaning
    'the larger, the more even'
    """
    kept = {_METADATA: Option(default, meaning, check)}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=kept)
    return dataclasses.field(default=default, metadata=kept)


def declared(kind: type) -> dict[str, Option]:
    """{name: Option} of a dataclass whose options are fields made by `option`."""
    return {
        field.name: field.metadata[_METADATA]
        for field in dataclasses.fields(kind)
        if _METADATA in field.metadata
    }


def check_values(kind: type, values: Mapping[str, Any], *, key: str) -> None:
    """Raises ConfigError at the first of `values`, {option: value}, that its check refuses."""
    options = declared(kind)
    for name, value in values.items():
        if name in options:
            _checked(value, options[name], key=f"{key}.{name}")


def complete(
    section: Mapping,
    options: Options,
    *,
    key: str,
    owners: Callable[[str], Collection[str]] = lambda name: (),
    by: str = "",
    drop: bool = False,
) -> dict[str, Any]:
    """What a section says, checked, with the defaults of what it does not say.

    Args:
      section: e.g. `config.weighting`, without or with all of its options.
      options: every option that it has.
      key: where it is, for the errors, e.g. `'config.weighting'`.
      owners: name ─► the other modules that have an option of that name.
      by: the key that chose the section's module, of which the caller has made sure.
      drop: leave such options out instead of refusing them. Older versions kept the options of all
        methods in one section, whichever method was used.

    Returns:
      {option: value}, nested where `options` are; lists are tuples.

    Raises:
      ConfigError: an unknown option, or an impossible value.
    """
    for name in section:
        if name not in options and not (drop and owners(name)):
            known = [by, *options] if by else options
            raise ConfigError(_unknown(name, known, owners(name), key))
    found = {}
    for name, what in options.items():
        value, where = section.get(name), f"{key}.{name}"
        if isinstance(what, Option):
            found[name] = _checked(value, what, key=where)
            continue
        if value is not None and not _is_section(value):
            raise ConfigError(f"{where}={value!r}; expected a section of options.")
        value = {} if value is None else value
        if isinstance(what, Part):
            found[name] = complete_part(value, what, key=where, drop=drop)
        elif isinstance(what, Each):
            found[name] = {
                given: complete_part(value[given], what.part, key=f"{where}.{given}", drop=drop)
                for given in names_as_written(value)
            }
        else:
            found[name] = complete(value, what, key=where, drop=drop)
    return found


def complete_part(section: Mapping, part: Part, *, key: str, drop: bool = False) -> dict[str, Any]:
    """`complete` of a section that chooses a module; {`part.by`: its name, option: value}.

    Raises:
      ConfigError: no module has that name, an unknown option, or an impossible value.
    """
    name = section.get(part.by) or part.default
    if not name:
        meant = nearest(part.by, section)
        raise ConfigError(
            f"{key}.{part.by} is not set; expected one of {', '.join(part.names())}."
            + f" {key}.{meant} is no option." * bool(meant)
        )
    options = part.options(name, key=f"{key}.{part.by}")
    rest = {option: value for option, value in section.items() if option != part.by}
    found = complete(rest, options, key=key, owners=part.owners, by=part.by, drop=drop)
    return {part.by: name} | found


def defaults(options: Options) -> dict[str, Any]:
    """{option: its default}, nested where `options` are.

    Of a `Part` the module's name and what all modules have; an `Each` is empty.
    """
    found = {}
    for name, what in options.items():
        if isinstance(what, Option):
            found[name] = what.default
        elif isinstance(what, Part):
            found[name] = {what.by: what.default} | defaults(what.common)
        else:
            found[name] = {} if isinstance(what, Each) else defaults(what)
    return found


def names_as_written(section: Mapping) -> list[str]:
    """A section's names in the order in which they were added.

    A ConfigDict lists its names in alphabetical order, and remembers in which they were written.
    """
    if isinstance(section, ConfigDict):
        return list(json.loads(section.to_json_best_effort()))
    return list(section)


def _checked(value: Any, what: Option, *, key: str) -> Any:
    if value is None:
        return what.default
    value = _plain(value)
    if isinstance(what.default, float) and type(value) is int:
        value = float(value)
    expected = what.check(value) if what.check else None
    if expected:
        raise ConfigError(f"{key}={value!r}; expected {expected}.")
    if isinstance(what.default, Mapping) and not isinstance(value, Mapping):
        raise ConfigError(f"{key}={value!r}; expected a section, {{name: value}}.")
    return value


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping | ConfigDict)


def _plain(value: Any) -> Any:
    """Lists as tuples, sections as dicts."""
    if _is_section(value):
        return {name: _plain(item) for name, item in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _unknown(name: str, options: Iterable[str], owners: Collection[str], key: str) -> str:
    """The message about an option that a section does not have."""
    known = ", ".join(options) or "none"
    if owners:
        return f"{key}.{name} is an option of {', '.join(owners)}. Here there are: {known}."
    return f"{key}.{name} is unknown.{did_you_mean(name, options)} Known: {known}."


# Checks: value ─► None, or what was expected.


def number(*, above: float | None = None, least: float | None = None, most: float = 1e12) -> Check:
    """A number in the range, and not so near 0 that float32 has no such number.

    Args:
      above: exclusive lower bound; 0 means at least 10⁻¹², so that its inverse is a number too.
      least: inclusive lower bound.
      most: inclusive upper bound.
    """
    bounds = [f"above {above:g}"] if above is not None else []
    bounds += [f"of at least {least:g}"] if least is not None else []
    low = least if least is not None else (1e-12 if above == 0 else above)

    def check(value):
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        fits = is_number and (low is None or value >= low) and value <= most
        if fits and (above is None or value > above):
            return None
        return f"a number {' and '.join([*bounds, f'of at most {most:g}'])}"

    return check


def whole(*, least: int) -> Check:
    """A whole number, at least that."""

    def check(value):
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return None if is_whole and least <= value < 2**31 else f"a whole number from {least}"

    return check


def each(check_one: Check, *, length: int | None = None) -> Check:
    """A sequence of values that each pass `check_one`, so many if `length` is given."""

    def check(value):
        fits = isinstance(value, tuple | list) and length in (None, len(value))
        if fits and not any(map(check_one, value)):
            return None
        return f"{'' if length is None else f'{length} '}values, each {check_one(None)}"

    return check


def rate(value: Any) -> str | None:
    """A share that is dropped: at least 0 and less than 1."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return None if is_number and 0 <= value < 1 else "at least 0 and less than 1"


def one_of(*values: Any) -> Check:
    """One of these."""

    def check(value):
        is_known = any(value == known and type(value) is type(known) for known in values)
        return None if is_known else f"one of {', '.join(map(str, values))}"

    return check


def truth(value: Any) -> str | None:
    """True or False."""
    return None if isinstance(value, bool) else "True or False"


def text(value: Any) -> str | None:
    """A text, possibly empty."""
    return None if isinstance(value, str) else "a text"


def choice(value: str, available: Mapping[str, Any], *, key: str) -> Any:
    """`available[value]`, or a ConfigError that says what is available."""
    if value not in available:
        raise ConfigError(f"{key}={value!r}; expected one of {', '.join(available)}.")
    return available[value]


def dtype(name: str) -> jnp.dtype:
    """The compute type of that name."""
    return jnp.dtype(name)

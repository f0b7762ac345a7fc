"""A reader of pickles that runs nothing that they name.

A pickle is a program, and `pickle.load` calls whatever it asks for. Here none of `pickle` runs:
`pickletools` splits the bytes into opcodes, and a small machine carries out those that build plain
containers. A name is looked up in a table that the caller gives, never imported; what is called is
a function of that table; what is altered is a container or a `Buildable` that such a function made.
Every other opcode and every other name is refused.
"""

import pickletools
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any


class PickleError(ValueError):
    """The pickle is broken, or asks for more than tensors and plain containers."""


class Buildable:
    """What a pickle may set the state of, besides an OrderedDict, whose attributes are dropped."""

    def build(self, state: Any) -> None:
        """Takes the state, any value; raises PickleError if it is not what it should be."""
        raise NotImplementedError


def load(stream: Any, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """Reads one pickle and leaves the stream at its end.

    Args:
      stream: has `read`, `readline` and `tell`, and holds all bytes in memory or mapped.
      names: {'module.name': value} of all that the pickle may name. Functions among the values may
        be called with whatever arguments the pickle gives, so they must be harmless for any; other
        values are never called.
      persistent: turns a persistent id, any value, into an object.

    Raises:
      PickleError: see the class; the message says at which byte.
    """
    machine = _Machine(names, persistent)
    start, position = stream.tell(), 0
    try:
        for opcode, argument, at in pickletools.genops(stream):
            position = at - start
            machine.execute(opcode.name, argument)
        return machine.pop()
    except PickleError as error:
        raise PickleError(f"{error} (byte {position} of the pickle)") from None
    except (ValueError, OverflowError) as error:  # what pickletools raises for broken bytes
        raise PickleError(f"it is broken or cut short after byte {position}: {error}") from error


class _Machine:
    """A stack, the marks on it, and a memo: what the opcodes of a pickle work on."""

    def __init__(self, names: Mapping[str, Any], persistent: Callable[[Any], Any]):
        self._names, self._persistent = names, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def execute(self, opcode: str, argument: Any) -> None:
        """Carries out one opcode, named as in `pickletools`."""
        match opcode:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._marks.append(len(self._stack))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._peek()
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._peek()
            case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS" | "BUILD":
                self._alter(opcode)
            case _:
                self._stack.append(self._value(opcode, argument))

    def _value(self, opcode: str, argument: Any) -> Any:
        """What an opcode pushes onto the stack."""
        match opcode:
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                return argument
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                return argument
            case "NONE":
                return None
            case "NEWTRUE" | "NEWFALSE":
                return opcode == "NEWTRUE"
            case "EMPTY_DICT":
                return {}
            case "EMPTY_LIST":
                return []
            case "EMPTY_TUPLE":
                return ()
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                return tuple([self.pop() for _ in range(int(opcode[-1]))][::-1])
            case "TUPLE":
                return tuple(self._pop_to_mark())
            case "BINGET" | "LONG_BINGET":
                return self._recall(argument)
            case "GLOBAL":
                return self._find(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                return self._find(module, name)
            case "REDUCE" | "NEWOBJ":
                arguments, function = self.pop(), self.pop()
                return self._call(function, arguments)
            case "BINPERSID":
                return self._persistent(self.pop())
            case _:
                raise PickleError(f"its opcode {opcode} is not one that tensors need")

    def _alter(self, opcode: str) -> None:
        """Adds to the container, or builds the object, below the opcode's operands."""
        if opcode == "SETITEM":
            operands = [self.pop(), self.pop()][::-1]
        else:
            operands = self._pop_to_mark() if opcode.endswith("S") else [self.pop()]
        target = self._peek()
        if opcode.startswith("APPEND") and type(target) is list:
            target.extend(operands)
        elif opcode.startswith("SETITEM") and isinstance(target, dict):
            set_items(target, operands)
        elif opcode == "BUILD" and isinstance(target, Buildable):
            target.build(*operands)
        elif opcode != "BUILD" or type(target) is not OrderedDict:
            raise PickleError(f"its opcode {opcode} is not for a {type(target).__name__}")

    def pop(self) -> Any:
        """Takes the topmost value, which must be above the last mark."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise PickleError("it takes more from the stack than there is")
        return self._stack.pop()

    def _peek(self) -> Any:
        value = self.pop()
        self._stack.append(value)
        return value

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise PickleError("it goes back to a mark that it never set")
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _recall(self, index: int) -> Any:
        if index not in self._memo:
            raise PickleError(f"it recalls item {index}, which it never stored")
        return self._memo[index]

    def _find(self, module: Any, name: Any) -> Any:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else None
        if full is None or full not in self._names:
            what = repr(full[:200]) if full else "something by what is not text"
            raise PickleError(
                f"it names {what}. Only tensors in plain containers are read, and nothing that a "
                "file names is ever imported or run; of a whole model, save state_dict() alone"
            )
        return self._names[full]

    def _call(self, function: Any, arguments: Any) -> Any:
        # Functions come from the table of names alone: nothing else puts one on the stack.
        if not isinstance(function, types.FunctionType) or type(arguments) is not tuple:
            raise PickleError(f"it calls a {type(function).__name__}")
        try:
            return function(*arguments)
        except TypeError as error:
            raise PickleError(f"its arguments do not fit: {error}") from error


def set_items(target: dict, items: list[Any]) -> None:
    """Sets key, value, key, value, ...

    Raises:
      PickleError: a key has no value, or is neither text nor a number (the hash of nested tuples
        can be made to take for ever).
    """
    if len(items) % 2:
        raise PickleError("it has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int):
            raise PickleError(f"it has a {type(key).__name__} as a key; expected text or a number")
        target[key] = value

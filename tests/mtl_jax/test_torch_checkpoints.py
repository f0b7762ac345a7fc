"""Reading `.pth` files: against files that PyTorch wrote, and against files that mean harm.

golden/torch_zip.pth and golden/torch_legacy.pth are PyTorch 2.13's own:

    base = torch.arange(24.0).reshape(4, 6)
    state = collections.OrderedDict(
        whole=base, transposed=base.T, strided=base[1:3, ::2],
        parameter=torch.nn.Parameter(base[0]), half=torch.tensor([1.5, -2.0]).half(),
        bfloat16=torch.tensor([0.15625, 3.0]).bfloat16(), counter=torch.tensor(7),
        empty=torch.zeros(0, 3),
    )
    torch.save(state, "torch_zip.pth")
    torch.save(state, "torch_legacy.pth", _use_new_zipfile_serialization=False)
"""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch_files
from torch_files import Call, Name, Persistent, encode, pickled

from mtl_jax.weights import torch_checkpoints
from mtl_jax.weights.torch_checkpoints import TorchCheckpointError

GOLDEN = Path(__file__).parent / "golden"
ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn.running_var": np.array([0.5, 2.0], np.float16),
    "bn.num_batches_tracked": np.array(7, np.int64),
}
FLOATS = Name("torch", "FloatStorage")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_reads_what_pytorch_wrote(layout):
    found = torch_checkpoints.read(GOLDEN / f"torch_{layout}.pth")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {
        "whole": base,
        "transposed": base.T,
        "strided": base[1:3, ::2],
        "parameter": base[0],
        "half": np.array([1.5, -2], np.float16),
        "bfloat16": np.array([0.15625, 3], jnp.bfloat16),
        "counter": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
    }
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True, err_msg=name)
        assert not found[name].flags.writeable


@pytest.mark.parametrize("legacy", [False, True])
def test_reads_what_the_writer_of_these_tests_wrote(tmp_path, legacy):
    path = torch_files.save(tmp_path / "a.pth", ARRAYS, legacy=legacy)
    found = torch_checkpoints.read(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_reads_the_forms_of_older_pytorch(tmp_path):
    """`_rebuild_tensor` of four arguments, Parameters of three kinds, views of storages."""
    storage = ("storage", FLOATS, "0", "cpu", 6)
    whole = Persistent((*storage, None))
    part = Persistent((*storage, ("v", 2, 3)))
    rebuild = Name("torch._utils", "_rebuild_tensor")
    parameter = Name("torch.nn.parameter", "Parameter")
    plain = Call(rebuild, (whole, 1, (2,), (2,)))
    value = {
        "plain": plain,
        "view": Call(rebuild, (part, 1, (2,), (1,))),
        "called": Call(parameter, (plain, True), (True, False, {})),
        "built": Call(parameter, (), (plain, None, {}, True, False)),
        "rebuilt": Call(Name("torch._utils", "_rebuild_parameter"), (plain, True, {})),
    }
    path = tmp_path / "a.pth"
    torch_files.write_legacy(path, pickled(value), {"0": np.arange(6, dtype=np.float32)})
    found = torch_checkpoints.read(path)
    assert found.pop("view").tolist() == [3, 4]
    assert {name: array.tolist() for name, array in found.items()} == {
        name: [1, 3] for name in ("plain", "called", "built", "rebuilt")
    }


def test_reads_names_of_python_2(tmp_path):
    """SHORT_BINSTRING keys, and an OrderedDict made from a list of pairs."""
    pair = (
        b"](U\x01a" + encode(torch_files.tensor("0", np.ones(2, np.float32), legacy=False)) + b"e"
    )
    value = encode(Name("collections", "OrderedDict")) + b"(](" + pair + b"etR"
    path = tmp_path / "a.pth"
    torch_files.write_zip(path, b"\x80\x02" + value + b".", {"0": np.ones(2, np.float32).tobytes()})
    assert torch_checkpoints.read(path)["a"].tolist() == [1, 1]


class Harm:
    """Pickles into a call of os.system that leaves a file."""

    def __init__(self, trace: Path):
        self._command = f"touch {trace}"

    def __reduce__(self):
        return os.system, (self._command,)


def hostile_pickles(trace: Path) -> dict[str, bytes]:
    command = f"touch {trace}"
    system = Name("posix", "system")
    good = torch_files.tensor("0", np.zeros(2, np.float32), legacy=False)
    hooks = Call(Name("collections", "OrderedDict"), ())
    text = encode(command)
    found = {f"protocol {p}": pickle.dumps(Harm(trace), p) for p in range(6)}
    found |= {f"nested {p}": pickle.dumps({"a": [(Harm(trace),)]}, p) for p in range(6)}
    return found | {
        "as an argument": pickled({"a": Call(REBUILD, (Call(system, (command,)),))}),
        "as hooks": pickled({"a": Call(REBUILD, (*good.arguments[:5], Call(system, (command,))))}),
        "as a persistent id": pickled({"a": Persistent((Call(system, (command,)),))}),
        "as a storage's type": pickled({"a": Persistent(("storage", system, "0", "cpu", 2))}),
        "as a key": b"\x80\x02}(" + encode(Call(system, (command,))) + b"Nu.",
        "STACK_GLOBAL": b"\x80\x04" + encode("os") + encode("system") + b"\x93" + text + b"\x85R.",
        "dotted": b"\x80\x04" + encode("torch._utils") + encode("os.system") + b"\x93.",
        "NEWOBJ": b"\x80\x02cposix\nsystem\n" + text + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cposix\nsystem\n" + text + b"\x85}\x92.",
        "OBJ": b"\x80\x02(cposix\nsystem\n" + text + b"o.",
        "INST": b"\x80\x02(" + text + b"iposix\nsystem\n.",
        "extension": b"\x80\x02\x82\x01.",
        "eval": pickled(Call(Name("builtins", "eval"), ("__import__('os').system('x')",))),
        "getattr": pickled(Call(Name("builtins", "getattr"), (hooks, "clear"))),
        "call of a container": pickled(Call(hooks, ())),
        "call of a type of number": pickled(Call(FLOATS, (5,))),
        "call of a tensor": pickled(Call(good, ())),
        "BUILD of a function": encode(Name("collections", "OrderedDict")) + b"}b.",
        "BUILD of a dict": b"\x80\x02}}b.",
        "BUILD of a type of number": b"\x80\x02" + encode(FLOATS) + b"}b.",
        "BUILD of a tensor with attributes": b"\x80\x02" + encode(good) + encode({"a": 1}) + b"b.",
        "reader's own name": pickled(Name("mtl_jax.weights.torch_checkpoints", "read")),
    }


KINDS = hostile_pickles(Path("x"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("legacy", [False, True])
def test_refuses_a_hostile_pickle_and_runs_nothing(tmp_path, monkeypatch, kind, legacy):
    def forbidden(*arguments):
        raise AssertionError(f"ran {arguments}")

    trace = tmp_path / "trace"
    content = hostile_pickles(trace)[kind]
    for name in ("loads", "load", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(os, "system", forbidden)
    path = tmp_path / "a.pth"
    if legacy:
        torch_files.write_legacy(path, content, {})
    else:
        torch_files.write_zip(path, content, {"0": bytes(8)})
    with pytest.raises(TorchCheckpointError, match="cannot be read"):
        torch_checkpoints.read(path)
    assert not trace.exists()


def test_a_hostile_pickle_would_have_run(tmp_path):
    """The harm above is real: Python's own reader does it."""
    trace = tmp_path / "trace"
    pickle.loads(hostile_pickles(trace)["nested 2"])
    assert trace.exists()


def test_says_what_a_pickle_names(tmp_path):
    path = torch_files.write_zip(
        tmp_path / "a.pth", pickled(Call(Name("torchvision.models.resnet", "ResNet"), ())), {}
    )
    with pytest.raises(TorchCheckpointError, match=r"a\.pth.*'torchvision.models.resnet.ResNet'"):
        torch_checkpoints.read(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 1 << 70},
        {"shape": (7,)},
        {"shape": (-1,)},
        {"shape": (1 << 62,), "strides": (0,)},
        {"shape": (0, 1 << 61), "strides": (1, 1)},
        {"shape": (1,) * 100, "strides": (1,) * 100},
        {"shape": (2, 3)},
        {"strides": (2,)},
        {"strides": (-1,)},
        {"shape": (True,)},
        {"shape": 6},
        {"size": 7},
        {"size": -6},
        {"size": None},
    ],
    ids=str,
)
def test_refuses_a_tensor_beyond_its_storage(tmp_path, changes, legacy):
    array = np.arange(6, dtype=np.float32)
    content = pickled({"a": torch_files.tensor("0", array, legacy=legacy, **changes)})
    path = tmp_path / "a.pth"
    if legacy:
        torch_files.write_legacy(path, content, {"0": array})
    else:
        torch_files.write_zip(path, content, {"0": array.tobytes()})
    with pytest.raises(TorchCheckpointError, match="cannot be read"):
        torch_checkpoints.read(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shape": (1,), "strides": ((1 << 62) - 1,)}, [0.0]),
        ({"shape": (0, 2), "strides": (1, 1 << 61)}, np.zeros((0, 2))),
    ],
    ids=["one", "none"],
)
def test_a_stride_that_leads_nowhere_may_be_any(tmp_path, changes, expected):
    array = np.arange(6, dtype=np.float32)
    path = tmp_path / "a.pth"
    content = pickled({"a": torch_files.tensor("0", array, legacy=False, **changes)})
    torch_files.write_zip(path, content, {"0": array.tobytes()})
    np.testing.assert_array_equal(torch_checkpoints.read(path)["a"], expected)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_refuses_a_file_cut_off_anywhere(tmp_path, layout):
    content = (GOLDEN / f"torch_{layout}.pth").read_bytes()
    path = tmp_path / "a.pth"
    for length in range(0, len(content) - 1, 7):
        path.write_bytes(content[:length])
        with pytest.raises(TorchCheckpointError, match=r"a\.pth cannot be read"):
            torch_checkpoints.read(path)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_flipped_byte_raises_nothing_else(tmp_path, layout):
    """Some bytes are padding or numbers; whatever happens, it is a result or our error."""
    content = (GOLDEN / f"torch_{layout}.pth").read_bytes()
    path = tmp_path / "a.pth"
    refused = 0
    positions = range(0, len(content), 3)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 + position % 255
        path.write_bytes(damaged)
        try:
            torch_checkpoints.read(path)
        except TorchCheckpointError:
            refused += 1
    assert refused > len(positions) / 4


def test_refuses_numbers_that_changed_in_a_zip(tmp_path):
    """The archive's CRC-32."""
    path = torch_files.save(tmp_path / "a.pth", ARRAYS)
    numbers = ARRAYS["conv.weight"].tobytes()
    content = path.read_bytes()
    assert content.count(numbers) == 1
    path.write_bytes(content.replace(numbers, b"\1" + numbers[1:]))
    with pytest.raises(TorchCheckpointError, match="archive/data/0 is damaged"):
        torch_checkpoints.read(path)


def _tar(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())


def _empty_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")


def _two_roots(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled({}))
        archive.writestr("b/data.pkl", pickled({}))


def _compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickled({}))


ONE = {"a": torch_files.tensor("0", np.zeros(2, np.float32), legacy=False)}
FOREIGN = {
    "tar layout of PyTorch before 0.1.10": _tar,
    "0 entries <name>/data.pkl": _empty_zip,
    "2 entries <name>/data.pkl": _two_roots,
    "is compressed": _compressed,
    "TorchScript": lambda path: torch_files.write_zip(
        path, pickled({}), {}, **{"constants.pkl": b""}
    ),
    "big-endian": lambda path: torch_files.write_zip(path, pickled({}), {}, byteorder=b"big"),
    "written on a big-endian": lambda path: torch_files.write_legacy(
        path, pickled({}), {}, little_endian=False
    ),
    "data/0 is missing": lambda path: torch_files.write_zip(path, pickled(ONE), {}),
    "has 4 bytes, expected 8": lambda path: torch_files.write_zip(
        path, pickled(ONE), {"0": bytes(4)}
    ),
    "web page": lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>"),
    "git-lfs": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
    "expected a zip or a pickle": lambda path: path.write_bytes(b""),
    "torch.save did not write": lambda path: path.write_bytes(pickle.dumps({"a": 1}, 2)),
    "not a tensor. Expected a state_dict": lambda path: torch_files.write_zip(
        path, pickled({"weights": ONE, "epoch": 3}), {"0": bytes(8)}
    ),
    "holds a list": lambda path: torch_files.write_zip(path, pickled([1]), {}),
    "tuple as a key": lambda path: torch_files.write_zip(path, pickled({("a",): 1}), {}),
    "a key without a value": lambda path: torch_files.write_zip(path, b"\x80\x02}(K\x01u.", {}),
    "it calls a OrderedDict": lambda path: torch_files.write_zip(
        path, pickled(Call(Call(Name("collections", "OrderedDict"), ()), ())), {}
    ),
    "is cut off: .* storage '0' ends at": lambda path: torch_files.write_legacy(
        path,
        pickled({"a": torch_files.tensor("0", np.zeros(2, np.float32), legacy=True, size=3)}),
        {"0": np.zeros(2, np.float32)},
    ),
    "'0' is not of the 1 elements told": lambda path: torch_files.write_legacy(
        path,
        pickled({"a": torch_files.tensor("0", np.zeros(1, np.float32), legacy=True)}),
        {"0": np.zeros(2, np.float32)},
    ),
    "gives storage '0' two types or sizes": lambda path: torch_files.write_legacy(
        path,
        pickled(
            {
                kind: torch_files.tensor("0", np.zeros(2, kind), legacy=True)
                for kind in ("float32", "float16")
            }
        ),
        {"0": np.zeros(2, np.float32)},
    ),
    "that no tensor uses": lambda path: torch_files.write_legacy(
        path, pickled({}), {"0": np.zeros(1, np.float32)}
    ),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_says_why_a_file_is_not_read(tmp_path, message):
    path = tmp_path / "a.pth"
    FOREIGN[message](path)
    with pytest.raises(TorchCheckpointError, match=message):
        torch_checkpoints.read(path)


def test_a_nest_of_tuples_costs_no_time(tmp_path):
    """2¹⁰⁰ leaves by reference are quick to build; their hash would take for ever."""
    nest = b"K\x01" + b"q\x00h\x00\x86" * 100
    for content in (nest, b"}" + nest + b"K\x01s", encode(FLOATS) + nest + b"R"):
        path = torch_files.write_zip(tmp_path / "a.pth", b"\x80\x02" + content + b".", {})
        with pytest.raises(TorchCheckpointError):
            torch_checkpoints.read(path)


@pytest.mark.parametrize("key", ["model", "state_dict", "teacher"])
def test_a_checkpoint_of_training_has_the_weights_in_an_entry(tmp_path, key):
    value = {key: ONE, "epoch": 3, "optimizer": {"lr": None, "state": [1, 2]}}
    path = torch_files.write_zip(tmp_path / "a.pth", pickled(value), {"0": bytes(8)})
    found = torch_checkpoints.read(path)
    assert {name: array.tolist() for name, array in found.items()} == {"a": [0.0, 0.0]}

"""One clear message for each mistake in a command."""

import gc
import subprocess
import sys

import pytest
import tiny
import toy_network as toy
from run_main import ROOT, fails

from mtl_jax import architectures
from mtl_jax.commands import cli

real_network = architectures.build
toy_network = toy.in_every_run()

# what: (arguments, what the message says); TensorFlow is loaded by none of the first ones
KNOWN_AT_ONCE = {
    "no config": ([], "--config is missing, or the --workdir of a run"),
    "a config that is not there": (
        ["--config=configs/brunched.py"],
        "--config=configs/brunched.py cannot be read: No such file or directory.",
    ),
    "a name that is not there": (["--config=brunched"], "Did you mean --config=branched?"),
    "a protocol that is not there": (
        ["--config=configs/branched.py:citiscapes"],
        "There is no protocol 'citiscapes'. Did you mean 'cityscapes'? Expected one of streets",
    ),
    "a protocol too many": (["--config=configs/common.py:x"], "it has no function get_config"),
    "key": (
        ["--config=branched", "--config.train.batchsize=3"],
        "config.train has no key 'batchsize'. Did you mean 'train.batch_size'?",
    ),
    "section": (
        ["--config=branched", "--config.trian.batch_size=3"],
        "config has no key 'trian'. Did you mean 'train'?",
    ),
    "key without its section": (
        ["--config=branched", "--config.batch_sise=3"],
        "config has no key 'batch_sise'. Did you mean ",
    ),
    "flag": (["--confg=branched"], "Unknown flag --confg. Did you mean --config?"),
    "key as a flag": (
        ["--config=branched", "--train.epochs=3"],
        "Unknown flag --train.epochs. Did you mean --config.train.epochs?",
    ),
    "command": (["trian"], "There is no command 'trian'. Did you mean 'train'?"),
    "mode": (["--mode=evalute"], "There is no command 'evalute'. Did you mean 'evaluate'?"),
    "two commands": (["train", "--mode=evaluate"], "Two commands, train and evaluate"),
    "type": (
        ["--config=branched", "--config.train.batch_size=many"],
        "--config.train.batch_size=many: expected an integer",
    ),
    "export without anything": (
        ["export", "--config=branched"],
        "export needs --output=<a new folder> and --size=<height>x<width>",
    ),
    "report on nothing": (["report"], "`mtl report --help` lists the flags."),
    "predict without input": (["--config=branched", "--mode=predict"], "needs --input="),
    "a flag of sweeps": (["--config=joint", "--shard=0/2"], "--shard is of no use in train; it is"),
    "a rate without a list": (
        ["--sweep=mtan", "--images_per_second=9"],
        "--images_per_second is of no use without --sweep_list.",
    ),
    "a sweep that is not there": (["--sweep=configs/sweeps/none.py"], "no such file"),
    "a misspelt sweep": (["--sweep=deph_loss:streets"], "Did you mean 'depth_loss'?"),
    "a sweep with a mode": (["--sweep=mtan", "--mode=evaluate"], "neither --config nor --mode"),
    "no sweep": (["sweep"], "sweep needs --sweep=<name>[:<protocol>]"),
    "seeds of what": (
        ["--config=branched", "--mode=predict", "--seeds=0"],
        "--seeds is of no use in predict; it is for train, evaluate, sweep.",
    ),
    "baselines of what": (["--config=branched", "--baselines=x"], "--baselines is of no use in"),
    "seeds that are none": (["--config=branched", "--seeds=0,one"], "expected whole numbers"),
    "one process of how many": (
        ["--config=branched", "--coordinator=host:1"],
        "Several processes need all of --coordinator=<host>:<port>",
    ),
    "a process too many": (
        ["--config=branched", "--coordinator=host:1", "--processes=2", "--process=2"],
        "--process=2: expected 0 to 1",
    ),
}
FOUND_LATER = {
    "data set": (["--config=branched:miniscapes"], "miniscapes"),
    "misspelt data set": (
        ["--config=branched", "--config.data.dataset=street"],
        "Did you mean 'streets'",
    ),
    "split": (["--config=branched", "--config.data.train_split=trian"], "there is no such split"),
    "augmentation": (["--config=branched", "--config.data.augment.mode=composd"], "composd"),
    "architecture": (
        ["--config=branched", "--config.model.architecture=brunched"],
        "Did you mean 'branched'",
    ),
    "encoder": (["--config=branched", "--config.model.encoder.name=resnot"], "Did you mean 'resne"),
    "a task without labels": (
        ["--config=branched", "--config.tasks.material.type=segmentation"],
        "config.tasks.material",
    ),
    "a task of no type": (
        ["--config=branched", "--config.tasks.material.typ=segmentation"],
        "config.tasks.material.typ is no option.",
    ),
    "weights of no task": (["--config=branched", "--config.weighting.weights.x=1"], "weights"),
    "a part without layers": (
        ["--config=joint", "--config.train.freeze=depth"],
        "what can be frozen is common, encoder.",
    ),
    "evaluate an empty directory": (["--config=branched", "--mode=evaluate"], "holds no run"),
}
MISTAKES = KNOWN_AT_ONCE | FOUND_LATER


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_clear_message(mistake, streets_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(architectures, "build", real_network)  # which parts it has matters
    arguments, expected = MISTAKES[mistake]
    if mistake in FOUND_LATER:
        arguments = [*arguments, f"--workdir={tmp_path}"]
        if not any("dataset" in a or "miniscapes" in a for a in arguments):
            arguments.append(f"--config.data.dataset={tiny.TINY}")
        arguments.append(f"--config.data.data_dir={streets_dir}")
    output = fails(*arguments)
    assert expected in output
    assert mistake in FOUND_LATER or len(output.strip().splitlines()) == 1


def test_what_is_known_at_once_loads_no_tensorflow_and_seldom_jax():
    """--help, a directory without a run, a typo: in one process, as each would be.

    Only where a config is asked for JAX is imported, by the parts that declare its options.
    """
    code = f"""
import sys
from mtl_jax.commands import cli
assert cli.main(["--workdir=/nowhere/at_all", "--config.eval.split=test"]) == 1
try:
    cli.main(["--help"])
except SystemExit as done:
    assert done.code == 0
assert "jax" not in sys.modules
for arguments in {[arguments for arguments, _ in KNOWN_AT_ONCE.values()]}:
    if not any(word in str(arguments) for word in ("sweep", "predict", "export", "report")):
        assert cli.main(arguments) == 1, arguments
        assert not {{"orbax", "tensorflow"}} & set(sys.modules), arguments
assert cli.main(["config", "--config=branched:kitti"]) == 0
assert not {{"orbax", "tensorflow"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_command_seldom_looks_for_garbage(monkeypatch, capsys):
    """A seventh of a start's time went there."""
    chosen = []
    monkeypatch.setattr(gc, "get_threshold", lambda: (700, 10, 10))  # Python's, not the tests'
    monkeypatch.setattr(gc, "set_threshold", lambda *thresholds: chosen.append(thresholds))
    assert cli.main(["--nonsense"]) == 1
    assert chosen == [(25_000, 10, 10)]
    assert "--nonsense" in capsys.readouterr().err

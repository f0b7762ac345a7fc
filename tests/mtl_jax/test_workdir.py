"""The work directory belongs to one process, and to one run."""

import pytest

from mtl_jax.workdir import Workdir, WorkdirError


def test_only_one_process_trains_in_a_directory(tmp_path):
    first, second = Workdir(tmp_path), Workdir(tmp_path)
    with first.only_process():
        theirs = second.only_process()
        with pytest.raises(WorkdirError, match=f"Another process is training in .*{tmp_path}"):
            theirs.__enter__()
    with second.only_process():
        pass

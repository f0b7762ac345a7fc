"""One decoder for both tasks, or one for each (report A, table 5; report B).

--sweep=configs/sweeps/branched.py             small networks on Streets, from ImageNet weights
--sweep=configs/sweeps/branched.py:miniscapes  as reported, from ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched, joint
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """Joint and branched; as reports A and B trained."""
    from_random = {"streets": "streets_scratch"}
    networks = {
        "joint": joint.get_config(protocol),
        "branched": branched.get_config(from_random.get(protocol, protocol)),
    }
    if protocol == "streets":
        return [
            Row(name, _studies.from_imagenet(_studies.small(config)))
            for name, config in networks.items()
        ]
    ids = {
        "a_joint": ("A-T4-aspp-skip",),
        "a_branched": ("A-T5-branched", "A-expected-branched"),
        "b_joint": ("B-joint",),
        "b_branched": ("B-branched", "handout-branched"),
    }
    rows = {f"a_{name}": _studies.report_a(config) for name, config in networks.items()}
    rows |= {f"b_{name}": config for name, config in networks.items()}
    return [Row(name, config, published=ids[name]) for name, config in rows.items()]

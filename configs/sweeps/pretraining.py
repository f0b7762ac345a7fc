"""The joint network from scratch and from existing weights (report A, table 2; report B).

--sweep=configs/sweeps/pretraining.py             small network on Streets, from ImageNet weights
--sweep=configs/sweeps/pretraining.py:miniscapes  as reported, from ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """From scratch and pre-trained; as reports A and B trained."""
    base = _studies.joint_baseline(protocol)
    if protocol == "streets":
        imagenet = _studies.from_imagenet(base)
        scratch = _studies.variant(imagenet, _studies.SCRATCH)
        return [Row("scratch", scratch), Row("imagenet", imagenet)]
    rows = []
    for report, scratch in (("a", _studies.report_a(base)), ("b", base)):
        ids = {"a": "A-T2", "b": "B-pretraining"}[report]
        pretrained = _studies.variant(scratch, {"model.pretrained": "resnet34"})
        rows.append(Row(f"{report}_scratch", scratch, published=(f"{ids}-scratch",)))
        rows.append(Row(f"{report}_imagenet", pretrained, published=(f"{ids}-imagenet",)))
    return rows

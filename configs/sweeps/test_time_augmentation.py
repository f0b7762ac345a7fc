"""Merging the predictions on a photograph's resized copies (report B 4.4).

--sweep=configs/sweeps/test_time_augmentation.py             small network on Streets, from ImageNet
--sweep=configs/sweeps/test_time_augmentation.py:miniscapes  as reported: ResNet-50, berHu

One row trains; the others evaluate its best checkpoint. B evaluated on the test split, whose labels
nobody has but the course: here it is validation. B merged depth alone; the last row merges classes
too, by vote, as B describes and left out in the end.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """The network, evaluated as it is and on three more scales, merging depth or everything."""
    config = _studies.variant(_studies.tuned(protocol), {"tasks.depth.loss": "berhu"})
    scales = {"eval.tta.scales": (0.5, 2.0, 3.0)}
    return [
        Row("trained", config, published=("B-loss-berhu",)),
        Row("plain", config, evaluates="trained", published=("B-test-plain",)),
        Row(
            "scales_0.5_2_3",
            _studies.variant(config, scales | {"eval.tta.semantics": "plain"}),
            evaluates="trained",
            published=("B-test-tta", "B-tuned"),
        ),
        Row(
            "scales_0.5_2_3_vote",
            _studies.variant(config, scales | {"eval.tta.semantics": "vote"}),
            evaluates="trained",
        ),
    ]

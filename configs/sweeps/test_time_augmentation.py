"""Merging the predictions on a photograph's resized copies (report B 4.4).

--sweep=configs/sweeps/test_time_augmentation.py             small network on Streets
--sweep=configs/sweeps/test_time_augmentation.py:miniscapes  as reported: ResNet-50, berHu

One row trains; the others evaluate its best checkpoint. B evaluated on the test split, whose labels
nobody has but the course: here it is validation. B merged depth alone; here both tasks are merged,
the classes by vote, as B describes and left out in the end.
"""

from configs.sweeps import _studies
from mtl_jax.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """The network, evaluated as it is and on three more scales."""
    config = _studies.variant(_studies.squeeze_excitation(protocol), {"tasks.depth.loss": "berhu"})
    merged = {"eval.tta.scales": (0.5, 2.0, 3.0), "eval.tta.semantics": "vote"}
    return [
        Row("trained", config, published=("B-loss-berhu",)),
        Row("plain", config, evaluates="trained", published=("B-test-plain",)),
        Row(
            "scales_0.5_2_3",
            _studies.variant(config, merged),
            evaluates="trained",
            published=("B-test-tta", "B-tuned"),
        ),
    ]

"""What the names of metrics are like, and so where they are shown.

A metric is called '<metric>' by its task and '<task>/<metric>' elsewhere. 'iou/car', one of many of
a kind as there is one for every class, is shown in tables of its own and not among the others. A
metric that is computed in another way than usual ends in one of `VARIANTS`, and is not told while a
run trains.
"""

VARIANTS = ("_per_image", "_thesis")


def is_member(name: str) -> bool:
    """Whether '<task>/<family>/<member>' is meant, as in 'semseg/iou/car'."""
    return name.count("/") > 1


def is_variant(name: str) -> bool:
    """Whether it is another way to compute the metric of that name without its end."""
    return name.endswith(VARIANTS)

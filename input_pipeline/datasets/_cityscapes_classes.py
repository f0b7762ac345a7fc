"""The class table of Cityscapes, which KITTI, Miniscapes and Streets use too.

Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding (CVPR 2016), and the
`labels.py` of its scripts.
"""

from typing import NamedTuple

IGNORE = 255
CATEGORIES = ("void", "flat", "construction", "object", "nature", "sky", "human", "vehicle")


class Class(NamedTuple):
    """A row of the table.

    Attributes:
      id: value in `*_labelIds.png`.
      name: official name.
      train_id: 0 ... 18, or 255 where the benchmark ignores the class.
      category: one of `CATEGORIES`.
      has_instances: whether its instances are annotated one by one.
      colour: RGB.
    """

    id: int
    name: str
    train_id: int
    category: str
    has_instances: bool
    colour: tuple[int, int, int]


CLASSES = tuple(
    Class(*row)
    for row in (
        (0, "unlabeled", 255, "void", False, (0, 0, 0)),
        (1, "ego vehicle", 255, "void", False, (0, 0, 0)),
        (2, "rectification border", 255, "void", False, (0, 0, 0)),
        (3, "out of roi", 255, "void", False, (0, 0, 0)),
        (4, "static", 255, "void", False, (0, 0, 0)),
        (5, "dynamic", 255, "void", False, (111, 74, 0)),
        (6, "ground", 255, "void", False, (81, 0, 81)),
        (7, "road", 0, "flat", False, (128, 64, 128)),
        (8, "sidewalk", 1, "flat", False, (244, 35, 232)),
        (9, "parking", 255, "flat", False, (250, 170, 160)),
        (10, "rail track", 255, "flat", False, (230, 150, 140)),
        (11, "building", 2, "construction", False, (70, 70, 70)),
        (12, "wall", 3, "construction", False, (102, 102, 156)),
        (13, "fence", 4, "construction", False, (190, 153, 153)),
        (14, "guard rail", 255, "construction", False, (180, 165, 180)),
        (15, "bridge", 255, "construction", False, (150, 100, 100)),
        (16, "tunnel", 255, "construction", False, (150, 120, 90)),
        (17, "pole", 5, "object", False, (153, 153, 153)),
        (18, "polegroup", 255, "object", False, (153, 153, 153)),
        (19, "traffic light", 6, "object", False, (250, 170, 30)),
        (20, "traffic sign", 7, "object", False, (220, 220, 0)),
        (21, "vegetation", 8, "nature", False, (107, 142, 35)),
        (22, "terrain", 9, "nature", False, (152, 251, 152)),
        (23, "sky", 10, "sky", False, (70, 130, 180)),
        (24, "person", 11, "human", True, (220, 20, 60)),
        (25, "rider", 12, "human", True, (255, 0, 0)),
        (26, "car", 13, "vehicle", True, (0, 0, 142)),
        (27, "truck", 14, "vehicle", True, (0, 0, 70)),
        (28, "bus", 15, "vehicle", True, (0, 60, 100)),
        (29, "caravan", 255, "vehicle", True, (0, 0, 90)),
        (30, "trailer", 255, "vehicle", True, (0, 0, 110)),
        (31, "train", 16, "vehicle", True, (0, 80, 100)),
        (32, "motorcycle", 17, "vehicle", True, (0, 0, 230)),
        (33, "bicycle", 18, "vehicle", True, (119, 11, 32)),
    )
)

# By train id: the 19 classes of the benchmark.
TRAIN_CLASSES = tuple(
    sorted((row for row in CLASSES if row.train_id != IGNORE), key=lambda row: row.train_id)
)
NAMES = tuple(row.name for row in TRAIN_CLASSES)
PALETTE = tuple(row.colour for row in TRAIN_CLASSES)
INSTANCE_CLASSES = tuple(row.name for row in TRAIN_CLASSES if row.has_instances)

# The 7 categories without void, and the category (0 ... 6) of every train id.
CATEGORY_NAMES = CATEGORIES[1:]
CATEGORY_OF_TRAIN_ID = tuple(CATEGORY_NAMES.index(row.category) for row in TRAIN_CLASSES)
# The category (0 ... 6) or IGNORE of every id 0 ... 33: categories count ids that the 19 classes
# ignore, such as parking.
CATEGORY_OF_ID = tuple(
    CATEGORIES.index(row.category) - 1 if row.category != "void" else IGNORE for row in CLASSES
)
TRAIN_ID_OF_ID = tuple(row.train_id for row in CLASSES)

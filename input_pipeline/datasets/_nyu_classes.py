"""The class tables of NYU Depth V2: 40 and 13 classes.

40 classes of Gupta, Arbeláez, Malik: Perceptual Organization and Recognition of Indoor Scenes from
RGB-D Images (CVPR 2013); 13 of Couprie et al.: Indoor Semantic Segmentation using depth information
(ICLR 2013). In both, the ids of the files start at 1 and 0 is void; ours start at 0, void is 255.
"""

import numpy as np

from input_pipeline.datasets import _voc_classes

IGNORE = 255
NUM_FINE = 894  # labels of nyu_depth_v2_labeled.mat, which classMapping40.mat merges to 40

# Name and id among the 13 (from 1) of the ids 1 ... 40.
_CLASSES = (
    ("wall", 12),
    ("floor", 5),
    ("cabinet", 6),
    ("bed", 1),
    ("chair", 4),
    ("sofa", 9),
    ("table", 10),
    ("door", 12),
    ("window", 13),
    ("bookshelf", 6),
    ("picture", 8),
    ("counter", 6),
    ("blinds", 13),
    ("desk", 10),
    ("shelves", 6),
    ("curtain", 13),
    ("dresser", 6),
    ("pillow", 7),
    ("mirror", 7),
    ("floor mat", 5),
    ("clothes", 7),
    ("ceiling", 3),
    ("books", 2),
    ("refrigerator", 6),
    ("television", 11),
    ("paper", 7),
    ("towel", 7),
    ("shower curtain", 7),
    ("box", 7),
    ("whiteboard", 7),
    ("person", 7),
    ("night stand", 6),
    ("toilet", 7),
    ("sink", 7),
    ("lamp", 7),
    ("bathtub", 7),
    ("bag", 7),
    ("otherstructure", 7),
    ("otherfurniture", 6),
    ("otherprop", 7),
)
NAMES_40 = tuple(name for name, _ in _CLASSES)
PALETTE_40 = _voc_classes.colour_map(41)[1:]

_CLASSES_13 = (
    ("bed", (0, 0, 255)),
    ("books", (232, 88, 47)),
    ("ceiling", (0, 217, 0)),
    ("chair", (148, 0, 240)),
    ("floor", (222, 241, 23)),
    ("furniture", (255, 205, 205)),
    ("objects", (0, 223, 228)),
    ("picture", (106, 135, 204)),
    ("sofa", (116, 28, 41)),
    ("table", (240, 35, 235)),
    ("tv", (0, 166, 156)),
    ("wall", (249, 139, 0)),
    ("window", (225, 228, 194)),
)
NAMES_13 = tuple(name for name, _ in _CLASSES_13)
PALETTE_13 = tuple(colour for _, colour in _CLASSES_13)

# By 40-class id of the files, 0 (void) included: what the records hold.
CLASS_40_OF_ID = np.array([IGNORE, *range(40)], np.uint8)
CLASS_13_OF_ID = np.array([IGNORE, *(id_13 - 1 for _, id_13 in _CLASSES)], np.uint8)

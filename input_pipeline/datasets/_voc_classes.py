"""The class tables of the PASCAL family: VOC 2012, SBD and Person-Part.

Everingham et al.: The PASCAL Visual Object Classes Challenge (IJCV 2015); Chen et al.: Detect What
You Can (CVPR 2014) for the parts, merged to six as in Chen et al.: Attention to Scale (CVPR 2016).
"""

IGNORE = 255  # "void": the border of objects in VOC's own maps

NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

PART_NAMES = (
    "background",
    "head",
    "torso",
    "upper arms",
    "lower arms",
    "upper legs",
    "lower legs",
)


def colour_map(number: int) -> tuple[tuple[int, int, int], ...]:
    """RGB of the ids 0 ... `number` − 1, as the development kit of VOC defines it.

    Bits 0, 3 and 6 of an id are the three highest bits of red, bits 1, 4 and 7 those of green, and
    bits 2 and 5 those of blue, the lower bit of the id the higher one of the colour.
    """
    return tuple(
        tuple(
            sum((index >> (3 * digit + channel) & 1) << (7 - digit) for digit in range(3))
            for channel in range(3)
        )
        for index in range(number)
    )


PALETTE = colour_map(len(NAMES))
PART_PALETTE = colour_map(len(PART_NAMES))

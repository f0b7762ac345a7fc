"""What stands beside the street: buildings, walls, fences, trees, poles, lights and signs."""

from input_pipeline.streets import classes
from input_pipeline.streets.people import any_colour
from input_pipeline.streets.rng import Random
from input_pipeline.streets.solids import Frame, Paint, Solid, Tag, box, card, cylinder, ellipsoid
from input_pipeline.streets.textures import rgb

_WALLS = (
    rgb(206, 196, 176), rgb(182, 150, 118), rgb(150, 92, 74), rgb(196, 190, 186),
    rgb(128, 126, 124), rgb(222, 206, 160), rgb(168, 178, 184), rgb(120, 72, 58),
    rgb(190, 132, 110), rgb(146, 160, 138), rgb(92, 88, 86), rgb(232, 230, 224),
)  # fmt: skip
_ROOFS = (rgb(132, 62, 46), rgb(96, 54, 44), rgb(74, 74, 78), rgb(110, 104, 96), rgb(58, 52, 50))
_LEAVES = (
    (rgb(104, 132, 56), rgb(36, 54, 22)), (rgb(82, 116, 50), rgb(24, 44, 20)),
    (rgb(128, 146, 72), rgb(52, 66, 30)), (rgb(66, 94, 58), rgb(18, 34, 22)),
    (rgb(172, 138, 52), rgb(84, 56, 24)), (rgb(156, 86, 44), rgb(70, 34, 20)),
    (rgb(116, 128, 96), rgb(48, 56, 40)),
)  # fmt: skip
_LEAF_WEIGHTS = (5, 5, 3, 3, 1, 1, 1)
_WHITE, _BLACK = rgb(236, 236, 232), rgb(30, 30, 32)


def building(
    frame: Frame, depth: float, width: float, height: float, random: Random, *, house: bool
) -> list[Solid]:
    """A building whose front lies in the frame's origin, `width` along the street.

    Args:
      frame: forward along the street, right away from the building or towards it.
      depth: how far it reaches along the frame's right axis; negative to the left.
      house: with a pitched roof and without shops.
    """
    tag = Tag(classes.BUILDING)
    wall = any_colour(random) if random.chance(0.2) else random.choice(_WALLS)
    tone = random.uniform(0.7, 1.15)
    wall = tuple(tone * c for c in wall)
    glass = random.choice((rgb(60, 72, 84), rgb(36, 40, 46), rgb(96, 116, 134)))
    trim = random.choice((_WHITE, rgb(90, 70, 54), rgb(58, 60, 64), wall))
    shop = wall if house or random.chance(0.5) else any_colour(random, 0.6)
    storey = random.uniform(2.7, 3.5)
    glassy = not house and random.chance(0.15)
    share = (0.9, 0.8) if glassy else (random.uniform(0.34, 0.6), random.uniform(0.42, 0.66))
    bay = random.uniform(1.6, 2.4) if glassy else random.uniform(2.1, 3.9)
    courses = random.choice((0.0, random.uniform(5, 9)), (2, 1))
    ground = 0.3 if house else random.uniform(3.0, 4.2)
    paint = Paint("facade", (wall, glass, trim, shop), (bay, storey, *share, courses, ground))
    half = (abs(depth) / 2, height / 2, width / 2)
    solids = [box(frame.at(depth / 2, height / 2, 0), half, tag, paint)]
    pitched = house or random.chance(0.25)
    if pitched:
        solids.append(_pitched_roof(frame, depth, width, height, tag, random))
    else:
        band = Paint("plain", (trim,))
        over = (half[0] + 0.25, random.uniform(0.15, 0.4), half[2] + 0.05)
        solids.append(box(frame.at(depth / 2, height, 0), over, tag, band))
    if not house and random.chance(0.4):
        front = -1.0 if depth > 0 else 1.0
        rail = Paint("plain", (random.choice((trim, _WHITE, rgb(70, 72, 76))),))
        column = random.uniform(-0.3, 0.3) * width
        for level in range(1, int((height - ground) / storey)):
            at = frame.at(front * 0.45, ground + level * storey + 0.35, column)
            solids.append(box(at, (0.5, 0.5, 1.3), tag, rail))
    if not house and random.chance(0.35):
        front = -1.0 if depth > 0 else 1.0
        awning = Paint("cloth", (any_colour(random), any_colour(random)), (0.5,))
        at = frame.at(front * 0.6, ground - 0.6, random.uniform(-0.2, 0.2) * width)
        solids.append(box(at, (0.7, 0.12, width * 0.2), tag, awning))
    return solids


def _pitched_roof(frame, depth, width, height, tag, random: Random) -> Solid:
    rise = random.uniform(0.25, 0.45) * min(abs(depth), width)
    half = (abs(depth) / 2 + 0.3, rise / 2, width / 2 + 0.3)
    paint = Paint("roof", (random.choice(_ROOFS),))
    ridge_along = random.chance(0.6)
    axis = 0 if ridge_along else 2
    cuts = []
    for side in (-1.0, 1.0):
        plane = [0.0, 1.0, 0.0, 1.0]
        plane[axis] = 2.0 * side
        cuts.append(tuple(plane))
    return box(frame.at(depth / 2, height + rise / 2, 0), half, tag, paint, cuts=tuple(cuts))


def wall(frame: Frame, length: float, random: Random, paint: Paint, height: float) -> list[Solid]:
    """A stretch of a wall along the frame's forward axis."""
    half = (0.15, height / 2, length / 2)
    return [box(frame.at(0, height / 2, 0), half, Tag(classes.WALL), paint)]


def wall_paint(random: Random) -> Paint:
    """Stone, brick or plaster, in the colours that buildings have too."""
    stone = random.choice(_WALLS)
    if random.chance(0.35):
        return Paint("plain", (stone,))
    joint = tuple(0.5 * c for c in stone)
    return Paint("masonry", (stone, joint), (random.uniform(3, 8),))


def fence_paint(random: Random) -> tuple[str, Paint]:
    """(kind, paint) of a fence: 'boards' or 'pickets'."""
    colour = random.choice(
        (
            rgb(120, 90, 62),
            rgb(88, 66, 48),
            _WHITE,
            rgb(44, 62, 48),
            rgb(60, 62, 66),
            rgb(150, 130, 108),
        )
    )
    if random.chance(0.5):
        return "boards", Paint("boards", (colour,), (random.uniform(5, 9),))
    return "pickets", Paint("plain", (colour,), (random.uniform(0.16, 0.3), 0.45, 1 / 14))


def fence(frame: Frame, length: float, kind: str, paint: Paint, height: float) -> list[Solid]:
    """A stretch of a fence along the frame's forward axis."""
    tag = Tag(classes.FENCE)
    if kind == "boards":
        half = (0.05, height / 2, length / 2)
        return [box(frame.at(0, height / 2, 0), half, tag, paint)]
    middle = frame.at(0, height / 2, 0)
    facing = Frame(middle.origin, middle.forward, middle.up, middle.right)
    post = frame.at(0, height / 2, length / 2)
    return [
        card(facing, (length / 2, height / 2), tag, paint, "pickets"),
        box(post, (0.05, height / 2 + 0.05, 0.05), tag, paint),
    ]


def hedge(frame: Frame, length: float, height: float, leaves, random: Random) -> list[Solid]:
    """A hedge along the frame's forward axis, of overlapping bushes."""
    tag = Tag(classes.VEGETATION)
    solids = []
    count = max(2, int(length / 1.1))
    for k in range(count):
        at = frame.at(0, 0.45 * height, length * ((k + 0.5) / count - 0.5))
        half = (0.5, 0.62 * height, 0.75 * length / count)
        solids.append(ellipsoid(at, half, tag, _leaf_paint(leaves, random), ragged=0.25))
    return solids


def leaf_colours(random: Random):
    """(light, dark) of a plant's leaves."""
    return random.choice(_LEAVES, _LEAF_WEIGHTS)


def _leaf_paint(leaves, random: Random) -> Paint:
    tone = random.uniform(0.75, 1.25)
    colours = tuple(tuple(tone * c for c in colour) for colour in leaves)
    return Paint("foliage", colours, (float(random.integer(256)), float(random.integer(256))))


def bush(frame: Frame, size: float, random: Random) -> list[Solid]:
    """A low shrub."""
    leaves = leaf_colours(random)
    tag = Tag(classes.VEGETATION)
    solids = []
    for _ in range(2):
        at = frame.at(
            random.uniform(-0.4, 0.4) * size, 0.35 * size, random.uniform(-0.4, 0.4) * size
        )
        half = tuple(size * random.uniform(0.4, 0.65) for _ in range(3))
        solids.append(ellipsoid(at, half, tag, _leaf_paint(leaves, random), ragged=0.5))
    return solids


def tree(frame: Frame, height: float, random: Random) -> list[Solid]:
    """A broad, a slender or a conical tree; its trunk is vegetation too."""
    tag = Tag(classes.VEGETATION)
    kind = random.choice(("broad", "slender", "cone", "bare"), (6, 2, 2, 1))
    leaves = leaf_colours(random)
    bark = Paint("bark", (random.choice((rgb(92, 76, 62), rgb(64, 54, 46), rgb(130, 122, 110))),))
    trunk = random.uniform(0.3, 0.42) * height if kind != "cone" else 0.12 * height
    girth = random.uniform(0.018, 0.03) * height
    solids = [
        cylinder(frame.at(0, trunk / 2 + 0.15, 0), (girth, trunk / 2 + 0.2, girth), tag, bark)
    ]
    crown = height - trunk

    def blob(a, b, c, half, ragged=0.7):
        paint = _leaf_paint(leaves, random)
        solids.append(ellipsoid(frame.at(a, b, c), half, tag, paint, ragged=ragged))

    if kind == "broad":
        spread = random.uniform(0.32, 0.5) * crown
        for _ in range(5 + random.integer(3)):
            size = random.uniform(0.26, 0.42) * crown
            a, c = random.uniform(-1, 1) * spread * 0.7, random.uniform(-1, 1) * spread * 0.7
            b = trunk + crown * random.uniform(0.25, 0.75)
            blob(a, b, c, (size, 0.85 * size, size))
    elif kind == "slender":
        for k in range(4):
            size = 0.16 * crown * (1.1 - 0.15 * abs(k - 1))
            blob(0, trunk + crown * (0.14 + 0.24 * k), 0, (size, 0.2 * crown, size), 0.6)
    elif kind == "cone":
        for k in range(5):
            size = (0.3 - 0.055 * k) * height
            blob(0, trunk + crown * (0.1 + 0.2 * k), 0, (size, 0.16 * crown, size), 0.6)
    else:
        for _ in range(6):
            side = frame.at(0, trunk * random.uniform(0.7, 1.1), 0).turned(random.uniform(-3, 3))
            branch = side.pitched(random.uniform(0.15, 0.45)).at(0, 0.3 * crown, 0)
            solids.append(cylinder(branch, (0.4 * girth, 0.32 * crown, 0.4 * girth), tag, bark))
        blob(0, trunk + 0.5 * crown, 0, (0.4 * crown, 0.4 * crown, 0.4 * crown), 2.2)
    return solids


def _pole_paint(random: Random) -> Paint:
    colours = (
        rgb(140, 142, 145),
        rgb(92, 95, 98),
        rgb(52, 56, 54),
        rgb(168, 166, 160),
        rgb(110, 86, 60),
    )
    return Paint("plain", (random.choice(colours),))


def _upright(frame: Frame, height: float, radius: float, paint: Paint) -> Solid:
    half = (radius, height / 2, radius)
    return cylinder(frame.at(0, height / 2, 0), half, Tag(classes.POLE), paint)


def lamp_post(frame: Frame, inward: float, random: Random) -> list[Solid]:
    """A street lamp; its arm reaches `inward` (±1) along the frame's right axis."""
    height, arm = random.uniform(5.0, 9.0), random.uniform(0.0, 2.2)
    paint = _pole_paint(random)
    tag = Tag(classes.POLE)
    solids = [_upright(frame, height, random.uniform(0.06, 0.11), paint)]
    if arm > 0.8:
        half = (arm / 2, 0.05, 0.05)
        solids.append(box(frame.at(inward * arm / 2, height, 0), half, tag, paint))
    lamp = frame.at(inward * max(arm - 0.2, 0.0), height + 0.05, 0)
    solids.append(box(lamp, (0.32, 0.09, 0.16), tag, Paint("plain", (rgb(190, 188, 180),))))
    return solids


def plain_pole(frame: Frame, random: Random) -> list[Solid]:
    """A telegraph pole, a mast or a bollard."""
    if random.chance(0.4):
        return [_upright(frame, random.uniform(0.8, 1.1), 0.07, _pole_paint(random))]
    return [
        _upright(frame, random.uniform(4.0, 8.5), random.uniform(0.07, 0.15), _pole_paint(random))
    ]


def traffic_light(frame: Frame, inward: float, random: Random) -> list[Solid]:
    """A traffic light; its lamps look back along the frame's forward axis."""
    paint = _pole_paint(random)
    tag = Tag(classes.TRAFFIC_LIGHT)
    shines = Paint("traffic_light", (_BLACK,), (float(random.choice((0, 1, 2), (3, 1, 3))),))
    height = random.uniform(2.9, 3.6)
    half = (0.17, 0.46, 0.15)
    solids = [
        _upright(frame, height, 0.07, paint),
        box(frame.at(0, height - 0.5, -0.2), half, tag, shines),
    ]
    if random.chance(0.45):
        tall, reach = random.uniform(5.2, 6.0), random.uniform(2.5, 5.0)
        solids.append(_upright(frame, tall, 0.09, paint))
        arm = frame.at(inward * reach / 2, tall, 0)
        solids.append(box(arm, (reach / 2, 0.06, 0.06), Tag(classes.POLE), paint))
        hanging = frame.at(inward * reach, tall - 0.25, -0.05)
        solids.append(box(hanging, (0.2, 0.52, 0.17), tag, shines))
    return solids


_SIGNS = (
    # outline, (ground, border, glyph), border from, glyph: 0 bar, 1 arrow, 2 text
    ("disc", (rgb(240, 240, 238), rgb(196, 24, 30), _BLACK), 0.74, 2),
    ("disc", (rgb(196, 24, 30), rgb(196, 24, 30), _WHITE), 0.95, 0),
    ("disc", (rgb(24, 84, 168), rgb(232, 234, 236), _WHITE), 0.9, 1),
    ("triangle", (rgb(240, 240, 238), rgb(196, 24, 30), _BLACK), 0.55, 1),
    ("square", (rgb(24, 84, 168), rgb(232, 234, 236), _WHITE), 0.9, 1),
    ("square", (rgb(236, 196, 40), rgb(30, 30, 32), _BLACK), 0.88, 2),
    ("square", (rgb(28, 110, 66), rgb(232, 234, 236), _WHITE), 0.92, 2),
)


def traffic_sign(frame: Frame, random: Random) -> list[Solid]:
    """One or two signs on a pole, facing back along the frame's forward axis."""
    height = random.uniform(2.2, 3.0)
    solids = [_upright(frame, height, 0.04, _pole_paint(random))]
    top = height
    for _ in range(1 + random.chance(0.3)):
        size = random.uniform(0.3, 0.42)
        wide = size * random.choice((1.0, 1.6), (3, 1))
        outline, colours, border, glyph = random.choice(_SIGNS)
        if outline != "square":
            wide = size
        numbers = (border, float(glyph), float(("disc", "square", "triangle").index(outline)))
        facing = frame.at(0, top - size, -0.06).turned(random.uniform(-0.1, 0.1))
        paint = Paint("sign", colours, numbers)
        solids.append(card(facing, (wide, size), Tag(classes.TRAFFIC_SIGN), paint, outline))
        top -= 2 * size + 0.05
    return solids

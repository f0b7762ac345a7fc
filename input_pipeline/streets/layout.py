"""Where a street's lanes, strips and building lines lie."""

import dataclasses

from input_pipeline.streets import classes
from input_pipeline.streets.rng import Random
from input_pipeline.streets.solids import Paint
from input_pipeline.streets.street import Line, Street, Strip
from input_pipeline.streets.textures import rgb

_ENDLESS = 1e9


@dataclasses.dataclass(frozen=True)
class Plan:
    """A street and what is to be built along it. Sides are −1 (left) and +1 (right).

    Attributes:
      lanes: (offset of the middle, runs ahead) of every lane.
      camera_offset: of the camera from the street's middle.
      parking: width of the parking lane by side, 0 for none.
      walk: by side, (nearest, farthest) distance of pedestrians from the middle.
      front: by side, distance of the building line from the middle.
      plot, storeys: ranges of the plots' widths and the buildings' heights, metres.
      built, closed: chances that a plot is built up, and that it is so without a gap.
      setback: greatest distance of a building behind the building line.
      houses: pitched roofs, no shops.
      barriers: weights of none, fence, wall, hedge at the edge of the plots.
      lively: factor of the number of pedestrians.
      tree_rows, yard_plants: chances of trees along the kerb and of plants in front of buildings.
    """

    street: Street
    lanes: tuple[tuple[float, bool], ...]
    camera_offset: float
    parking: dict[int, float]
    walk: dict[int, tuple[float, float]]
    front: dict[int, float]
    plot: tuple[float, float]
    storeys: tuple[float, float]
    built: float
    closed: float
    setback: float
    houses: bool
    barriers: tuple[float, float, float, float]
    lively: float
    tree_rows: float
    yard_plants: float


_KINDS = {
    "city": {
        "plot": (8, 19), "storeys": (8, 23), "built": 0.93, "closed": 0.85, "setback": 0.8,
        "houses": False, "barriers": (8, 1, 1, 0), "lively": 1.5, "tree_rows": 0.35,
        "yard_plants": 0.05,
    },
    "suburb": {
        "plot": (10, 17), "storeys": (4, 7), "built": 0.82, "closed": 0.05, "setback": 5.0,
        "houses": True, "barriers": (1, 4, 3, 3), "lively": 0.8, "tree_rows": 0.35,
        "yard_plants": 0.7,
    },
    "avenue": {
        "plot": (14, 28), "storeys": (6, 19), "built": 0.65, "closed": 0.2, "setback": 8.0,
        "houses": False, "barriers": (3, 3, 2, 2), "lively": 1.0, "tree_rows": 0.8,
        "yard_plants": 0.4,
    },
    "edge": {
        "plot": (12, 26), "storeys": (4, 10), "built": 0.25, "closed": 0.05, "setback": 8.0,
        "houses": True, "barriers": (2, 4, 2, 1), "lively": 0.6, "tree_rows": 0.4,
        "yard_plants": 0.6,
    },
}  # fmt: skip


def random_plan(random: Random) -> Plan:
    """Draws a street's layout."""
    kind = random.choice(tuple(_KINDS), (4, 3, 3, 2))
    lane = random.uniform(2.8, 3.6)
    back, ahead = random.choice(((1, 1), (1, 2), (2, 2), (0, 2), (2, 1)), (5, 1, 2, 1, 1))
    parking = {
        side: 2.2 if random.chance(0.55 if kind != "edge" else 0.2) else 0.0 for side in (-1, 1)
    }
    lanes = [(-lane * (k + 0.5), False) for k in range(back)]
    lanes += [(lane * (k + 0.5), True) for k in range(ahead)]
    left = max(back * lane, 0.3) + parking[-1]
    right = ahead * lane + parking[1]
    own = random.choice([offset for offset, runs_ahead in lanes if runs_ahead])

    walk, front, strips = _beside(kind, left, right, random)
    crossing = None
    zebras = []
    if random.chance(0.45):
        half = random.uniform(3.2, 6.0)
        middle = random.uniform(14.0, 48.0)
        crossing = (middle, half)
        if random.chance(0.5):
            zebras.append((middle - half - 4.0, middle - half - 1.0))
    elif random.chance(0.25):
        start = random.uniform(7.0, 30.0)
        zebras.append((start, start + 3.0))
    lines = _lines(lane, back, ahead, left, right, parking, random)
    tone = random.uniform(62, 138)
    tint = random.uniform(-8, 8)
    road = rgb(tone + tint, tone, tone - 0.7 * tint)
    street = Street(
        curvature=random.uniform(-0.003, 0.003) if random.chance(0.6) else 0.0,
        left=left,
        right=right,
        kerb=random.uniform(0.07, 0.17) if kind != "edge" or random.chance(0.5) else 0.0,
        strips=tuple(strips),
        crossing=crossing,
        lines=lines,
        zebras=tuple(zebras),
        paint=Paint(random.choice(("asphalt", "cobbles"), (9, 1)), (road, rgb(45, 45, 47))),
    )
    return Plan(
        street=street,
        lanes=tuple(lanes),
        camera_offset=own + random.uniform(-0.4, 0.4),
        parking=parking,
        walk=walk,
        front=front,
        **_KINDS[kind],
    )


def _beside(kind: str, left: float, right: float, random: Random):
    """Where people walk, where buildings stand, and the strips, by side; see `Plan`."""
    walk, front, strips = {}, {}, []
    for side, edge in ((-1, left), (1, right)):
        made = _side(kind, random)
        strips.append(made)
        inner = edge
        nearest = None
        for strip in made:
            if strip.semseg == classes.SIDEWALK and nearest is None:
                nearest = inner
                walk[side] = (inner, inner + min(strip.width, 5.0))
            if strip.width < _ENDLESS:
                inner += strip.width
        walk.setdefault(side, (edge + 0.3, edge + 1.5))
        front[side] = max(inner, walk[side][1]) + (
            0.1 if kind == "city" else random.uniform(2.0, 6.0)
        )
    return walk, front, strips


def _lines(lane, back, ahead, left, right, parking, random: Random) -> tuple[Line, ...]:
    """The carriageway's markings; some streets have none."""
    if random.chance(0.15):
        return ()
    lines = []
    yellow = random.chance(0.25)
    period, share = random.uniform(4, 10), random.uniform(0.3, 0.6)
    width = random.uniform(0.1, 0.17)
    if back:
        solid = random.chance(0.3)
        lines.append(Line(0.0, width, 0.0 if solid else period, share, yellow))
        if solid and random.chance(0.5):
            lines.append(Line(0.3, width, 0.0, 1.0, yellow))
    for k in range(1, max(back, ahead)):
        if k < ahead:
            lines.append(Line(k * lane, width, period, share))
        if k < back:
            lines.append(Line(-k * lane, width, period, share))
    if random.chance(0.6):
        for side, edge in ((-1, left), (1, right)):
            inset = parking[side] or 0.25
            dashed = 3.0 if parking[side] else 0.0
            lines.append(Line(side * (edge - inset), 0.12, dashed, 0.5))
    return tuple(lines)


def _side(kind: str, random: Random) -> tuple[Strip, ...]:
    """The strips beside the carriageway, the last without an end."""
    grass = Strip(classes.TERRAIN, random.uniform(0.8, 2.6), _terrain(random))
    pavement = _pavement(random)
    if kind == "city":
        width = random.uniform(2.2, 5.0)
        tail = Strip(classes.SIDEWALK, _ENDLESS, pavement)
        return (Strip(classes.SIDEWALK, width, pavement), tail)
    tail = Strip(classes.TERRAIN, _ENDLESS, _terrain(random))
    if kind == "edge" and random.chance(0.5):
        return (tail,)
    strips = [Strip(classes.SIDEWALK, random.uniform(1.5, 3.2), pavement), tail]
    if random.chance(0.65 if kind == "avenue" else 0.35):
        strips.insert(0, grass)
    return tuple(strips)


def _pavement(random: Random) -> Paint:
    tone = random.uniform(78, 190)
    stone = random.choice(
        (
            rgb(tone, tone, tone),
            rgb(tone + 20, tone - 12, tone - 22),
            rgb(tone + 12, tone + 4, tone - 18),
            rgb(tone - 6, tone, tone + 6),
        ),
        (5, 2, 2, 1),
    )
    texture = random.choice(("slabs", "asphalt", "cobbles"), (5, 3, 1))
    return Paint(texture, (stone, tuple(0.55 * c for c in stone)), (random.uniform(0.3, 1.0),))


def _terrain(random: Random) -> Paint:
    light, dark = random.choice(
        (
            (rgb(108, 132, 62), rgb(62, 82, 36)),
            (rgb(138, 142, 76), rgb(92, 88, 48)),
            (rgb(86, 112, 60), rgb(48, 66, 34)),
            (rgb(150, 128, 94), rgb(106, 86, 62)),
            (rgb(160, 154, 142), rgb(118, 112, 102)),
        ),
        (5, 3, 4, 2, 1),
    )
    return Paint("grass", (light, dark))

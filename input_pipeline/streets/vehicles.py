"""Cars, vans, lorries and buses."""

from input_pipeline.streets import classes
from input_pipeline.streets.people import any_colour
from input_pipeline.streets.rng import Random
from input_pipeline.streets.solids import Frame, Paint, Solid, Tag, box, cylinder, slope
from input_pipeline.streets.textures import rgb

_TYRE, _RIM = rgb(26, 26, 28), rgb(150, 152, 156)
_TRIM, _GLASS = rgb(30, 31, 33), rgb(62, 74, 84)
_FLEET = (
    rgb(235, 236, 238), rgb(190, 193, 197), rgb(128, 131, 135), rgb(62, 64, 68), rgb(24, 25, 28),
    rgb(160, 24, 28), rgb(28, 52, 120), rgb(40, 96, 150), rgb(36, 84, 56), rgb(198, 160, 44),
    rgb(206, 98, 30), rgb(120, 84, 58), rgb(196, 186, 160), rgb(110, 30, 60), rgb(70, 150, 140),
)  # fmt: skip


def _paint_colour(random: Random):
    return any_colour(random) if random.chance(0.3) else random.choice(_FLEET)


def _wheels(frame: Frame, tag: Tag, track: float, axles, radius: float) -> list[Solid]:
    paint = Paint("wheel", (_TYRE, _RIM))
    solids = []
    for c in axles:
        for side in (-1.0, 1.0):
            hub = frame.at(side * (track - 0.1), radius, c)
            axle = Frame(hub.origin, hub.forward, hub.right, hub.up)
            solids.append(cylinder(axle, (radius, 0.115, radius), tag, paint, shadow=False))
    return solids


# kind: length, width, height, belt (share of the height), cabin's (back, front) at the belt and at
# the roof as shares of the half length, pillars, chance.
_CARS = {
    "hatchback": ((3.6, 4.3), (1.65, 1.8), (1.42, 1.55), 0.60, (-0.97, 0.52), (-0.80, 0.10), 3, 4),
    "saloon": ((4.3, 4.9), (1.72, 1.88), (1.38, 1.48), 0.61, (-0.72, 0.50), (-0.38, 0.10), 2, 4),
    "estate": ((4.4, 4.9), (1.75, 1.88), (1.42, 1.55), 0.60, (-0.98, 0.50), (-0.84, 0.12), 3, 3),
    "offroad": ((4.2, 4.9), (1.8, 1.98), (1.62, 1.85), 0.59, (-0.98, 0.52), (-0.86, 0.18), 3, 3),
    "van": ((4.6, 5.6), (1.85, 2.02), (1.85, 2.3), 0.52, (-0.99, 0.80), (-0.96, 0.42), 2, 2),
    "pickup": ((5.0, 5.5), (1.85, 2.0), (1.7, 1.85), 0.58, (-0.20, 0.50), (-0.12, 0.15), 2, 1),
}


def car(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A car whose middle stands on the frame's origin and which drives along its forward axis."""
    kind = random.choice(tuple(_CARS), [row[-1] for row in _CARS.values()])
    lengths, widths, heights, belt, low, high, pillars, _ = _CARS[kind]
    length, width, height = (
        random.uniform(*lengths),
        random.uniform(*widths),
        random.uniform(*heights),
    )
    tag = Tag(classes.CAR, instance)
    colour = _paint_colour(random)
    sill = 0.2 if kind != "offroad" else 0.28
    top = belt * height + 0.05
    trim = _TRIM if random.chance(0.7) else colour
    hull = box(
        frame.at(0, (sill + top) / 2, 0),
        (width / 2, (top - sill) / 2, length / 2),
        tag,
        Paint("hull", (colour, trim), (-0.62,)),
        cuts=(
            slope(2, 1, 1.0, 0.93),
            slope(2, -1, 0.99, 0.97),
            slope(0, 1, 1.0, 0.95),
            slope(0, -1, 1.0, 0.95),
            (0.0, 1.0, 0.32, 1.12),  # the bonnet falls towards the front
            (0.0, -0.45, 1.0, 1.25),  # and the bumper draws in below
            (0.0, -0.45, -1.0, 1.25),
        ),
    )
    back, front = low[0] * length / 2, low[1] * length / 2
    middle, reach = (back + front) / 2, (front - back) / 2
    cabin = box(
        frame.at(0, (top - 0.03 + height) / 2, middle),
        (0.96 * width / 2, (height - top + 0.03) / 2, reach),
        tag,
        Paint("cabin", (colour, _GLASS), (float(pillars),)),
        cuts=(
            slope(2, 1, 1.0, (high[1] * length / 2 - middle) / reach),
            slope(2, -1, 1.0, -(high[0] * length / 2 - middle) / reach),
            slope(0, 1, 1.0, 0.8),
            slope(0, -1, 1.0, 0.8),
        ),
    )
    radius = random.uniform(0.29, 0.34) + (0.05 if kind == "offroad" else 0.0)
    axles = (-0.29 * length, 0.31 * length)
    return [hull, cabin, *_wheels(frame, tag, width / 2, axles, radius)]


def truck(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A lorry with a box, a flat bed or a tipper."""
    tag = Tag(classes.TRUCK, instance)
    length, width = random.uniform(5.5, 10.0), random.uniform(2.1, 2.5)
    floor = random.uniform(0.75, 1.05)
    cab_length, cab_height = random.uniform(1.7, 2.2), random.uniform(2.3, 3.2)
    colour = _paint_colour(random)
    body = _paint_colour(random)
    cab = frame.at(0, 0.45 + (cab_height - 0.45) / 2, length / 2 - cab_length / 2)
    solids = [
        box(
            cab,
            (width / 2 * 0.97, (cab_height - 0.45) / 2, cab_length / 2),
            tag,
            Paint("bus", (colour, _GLASS, colour), (0.7,)),
            cuts=(slope(2, 1, 1.0, 0.86),),
        ),
        box(
            frame.at(0, floor - 0.15, 0),
            (0.42 * width, 0.16, length / 2 - 0.1),
            tag,
            Paint("plain", (_TRIM,)),
        ),
    ]
    kind = random.choice(("box", "tipper", "flat"), (4, 2, 1))
    bed = length - cab_length - 0.3
    tall = {"box": random.uniform(1.9, 2.7), "tipper": random.uniform(0.9, 1.5), "flat": 0.3}[kind]
    band = random.uniform(-0.8, 0.5)
    paint = Paint(
        "cargo",
        (body, any_colour(random), _paint_colour(random)),
        (band, band + random.uniform(0.0, 0.5)),
    )
    half = (width / 2, tall / 2, bed / 2)
    solids.append(box(frame.at(0, floor + tall / 2, -length / 2 + bed / 2), half, tag, paint))
    if kind == "flat":
        load = Paint("plain", (any_colour(random),))
        for k in range(3):
            h = random.uniform(0.3, 0.8)
            at = frame.at(0, floor + 0.3 + h, -length / 2 + bed * (k + 0.5) / 3)
            solids.append(box(at, (0.42 * width, h, bed / 6.5), tag, load))
    axles = (length / 2 - 1.1, -length / 2 + 1.3, -length / 2 + 2.4)
    return solids + _wheels(frame, tag, width / 2, axles, random.uniform(0.42, 0.5))


def bus(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A city bus, sometimes a double-decker's height."""
    tag = Tag(classes.BUS, instance)
    length, width = random.uniform(9.5, 12.5), random.uniform(2.45, 2.55)
    height = random.uniform(2.9, 3.3)
    paint = Paint(
        "bus", (_paint_colour(random), _GLASS, any_colour(random)), (random.uniform(0.55, 0.8),)
    )
    body = box(
        frame.at(0, (height + 0.3) / 2, 0),
        (width / 2, (height - 0.3) / 2, length / 2),
        tag,
        paint,
        cuts=(slope(2, 1, 1.0, 0.985), slope(0, 1, 1.0, 0.97), slope(0, -1, 1.0, 0.97)),
    )
    axles = (length / 2 - 2.4, -length / 2 + 3.0)
    return [body, *_wheels(frame, tag, width / 2, axles, 0.48)]

"""Composes a random street scene: layout, weather, camera and everything that stands in it."""

import dataclasses

from input_pipeline.streets import classes, people, surroundings, vehicles
from input_pipeline.streets.camera import Pinhole
from input_pipeline.streets.layout import Plan, random_plan
from input_pipeline.streets.rng import Random
from input_pipeline.streets.solids import Frame, Paint, Solid, Tag, box, ellipsoid
from input_pipeline.streets.street import Street
from input_pipeline.streets.textures import rgb
from input_pipeline.streets.weather import Weather, random_weather


@dataclasses.dataclass(frozen=True)
class Bonnet:
    """The camera car's own bonnet: below y = middle + bend·x², in half image heights and widths."""

    middle: float
    bend: float
    colour: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that an image shows."""

    camera: Pinhole
    street: Street
    solids: list[Solid]
    weather: Weather
    bonnet: Bonnet | None


class _Stage:
    """Collects solids; hands out instance ids and keeps things from standing in one another."""

    def __init__(self, plan: Plan, random: Random):
        self.plan, self.street, self.random = plan, plan.street, random
        self.solids: list[Solid] = []
        self.instances = 0
        self.taken: list[tuple[float, float, float]] = [(plan.camera_offset, -1.0, 4.0)]

    def free(self, frame: Frame, radius: float) -> bool:
        """Claims a disc of the ground; False where something else stands."""
        x, _, z = frame.origin
        for other_x, other_z, other in self.taken:
            reach = radius + other
            if (x - other_x) * (x - other_x) + (z - other_z) * (z - other_z) < reach * reach:
                return False
        self.taken.append((x, z, radius))
        return True

    def add(self, make, frame: Frame, radius: float, instances: int = 0) -> None:
        """Adds what `make(frame, [first instance,] random)` returns, if there is room."""
        if not self.free(frame, radius):
            return
        if instances:
            self.solids += make(frame, self.instances + 1, self.random)
            self.instances += instances
        else:
            self.solids += make(frame, self.random)

    def vehicle(self, frame: Frame, *, parked: bool = False) -> float:
        """Adds a random vehicle; returns the room it takes along the street."""
        kind = self.random.choice(
            ("car", "truck", "bus", "motorcyclist", "cyclist"),
            (80, 8, 2, 1, 1) if parked else (72, 11, 5, 6, 6),
        )
        if kind == "car":
            self.add(vehicles.car, frame, 2.2, 1)
            return 5.2
        if kind == "truck":
            self.add(vehicles.truck, frame, 3.4, 1)
            return 10.5
        if kind == "bus":
            self.add(vehicles.bus, frame, 4.2, 1)
            return 13.5
        if parked:
            two = people.motorcycle if kind == "motorcyclist" else people.bicycle
            self.add(two, frame, 1.0, 1)
        elif kind == "motorcyclist":
            self.add(people.motorcyclist, frame, 1.1, 2)
        else:
            self.add(people.cyclist, frame, 1.0, 2)
        return 3.0


def random_scene(random: Random) -> Scene:
    """Draws a scene."""
    plan = random_plan(random)
    stage = _Stage(plan, random)
    _traffic(stage)
    _parked(stage)
    _cross_traffic(stage)
    _pedestrians(stage)
    for side in (-1, 1):
        _furniture(stage, side)
        _frontage(stage, side)
    _background(stage)
    camera = Pinhole.looking(
        (plan.camera_offset, random.uniform(1.15, 2.2), 0.0),
        yaw=random.uniform(-0.055, 0.055) + random.uniform(-0.055, 0.055),
        pitch=random.uniform(-0.015, 0.05),
        roll=random.uniform(-0.014, 0.014),
        focal=random.uniform(0.68, 1.2),
    )
    bonnet = None
    if random.chance(0.4):
        colour = people.any_colour(random, 0.6)
        bonnet = Bonnet(random.uniform(0.78, 0.94), random.uniform(0.03, 0.2), colour)
    return Scene(camera, plan.street, stage.solids, random_weather(random), bonnet)


def _traffic(stage: _Stage) -> None:
    """Moving vehicles, lane by lane."""
    random, street = stage.random, stage.street
    density = random.uniform(0.5, 1.6)
    for offset, forward in stage.plan.lanes:
        own = abs(offset - stage.plan.camera_offset) < 1.2
        z = random.uniform(8.0, 30.0) if own else random.uniform(3.0, 25.0)
        while z < 95:
            frame = street.place(offset + random.uniform(-0.25, 0.25), z)
            if random.chance(0.1):
                frame = frame.turned(random.uniform(-0.2, 0.2))
            room = stage.vehicle(frame if forward else frame.reversed())
            z += room + random.uniform(2.0, 34.0) / density
    for side, edge in ((-1, street.left), (1, street.right)):
        if random.chance(0.35):
            frame = street.place(
                side * (edge - stage.plan.parking[side] - 0.5), random.uniform(5, 28)
            )
            frame = frame if side > 0 or random.chance(0.2) else frame.reversed()
            stage.add(people.cyclist, frame, 0.9, 2)


def _parked(stage: _Stage) -> None:
    random, street = stage.random, stage.street
    for side, edge in ((-1, street.left), (1, street.right)):
        if not stage.plan.parking[side]:
            continue
        share = random.uniform(0.3, 0.95)
        z = random.uniform(2.5, 8.0)
        while z < 80:
            room = 5.6
            if random.chance(share) and not _near_crossing(street, z, 4.0):
                frame = street.place(side * (edge - 1.05 + random.uniform(-0.1, 0.1)), z)
                frame = frame.turned(random.uniform(-0.02, 0.02))
                away = side > 0 or random.chance(0.2)
                room = stage.vehicle(frame if away else frame.reversed(), parked=True)
            z += room + random.uniform(0.2, 1.4)


def _near_crossing(street: Street, z: float, margin: float) -> bool:
    if street.crossing is None:
        return False
    middle, half = street.crossing
    return abs(z - middle) < half + margin


def _cross_traffic(stage: _Stage) -> None:
    """Vehicles on the street across, seen from the side."""
    random, street = stage.random, stage.street
    if street.crossing is None:
        return
    middle, half = street.crossing
    for side in (-1.0, 1.0):
        for _ in range(random.integer(3)):
            x = random.uniform(-26, 26)
            frame = Frame((x, 0.0, middle + side * half * 0.45)).heading(side, 0.0)
            stage.vehicle(frame)


def _pedestrians(stage: _Stage) -> None:
    random, street = stage.random, stage.street
    lively = stage.plan.lively
    for side in (-1, 1):
        low, high = stage.plan.walk[side]
        for _ in range(int(random.uniform(0, 9) * lively)):
            u = random.uniform(0, 1)
            frame = street.place(side * random.uniform(low + 0.3, high), 4.0 + 55.0 * u * u)
            turn = random.uniform(-0.15, 0.15) if random.chance(0.75) else random.uniform(-2.0, 2.0)
            frame = frame.turned(turn)
            frame = frame if random.chance(0.5) else frame.reversed()
            stage.add(people.pedestrian, frame, 0.35, 1)
            if random.chance(0.25):  # people often walk in pairs
                stage.add(people.pedestrian, frame.at(0.75, 0, 0.1), 0.3, 1)
    places = [z + 1.5 for z, _ in street.zebras]
    if random.chance(0.3):
        places.append(random.uniform(9.0, 40.0))
    for z in places:
        for _ in range(random.integer(4)):
            offset = random.uniform(-street.left, street.right)
            frame = street.place(offset, z + random.uniform(-1.2, 1.2)).turned(
                random.choice((-1, 1))
            )
            stage.add(people.pedestrian, frame, 0.4, 1)
    for side in (-1, 1):
        if random.chance(0.3 * lively):
            offset = side * (stage.plan.walk[side][0] + 0.4)
            z = random.uniform(5.0, 25.0)
            for k in range(1 + random.integer(3)):
                frame = street.place(offset, z + 0.8 * k).turned(random.uniform(0.3, 1.0))
                make = people.bicycle if random.chance(0.75) else people.motorcycle
                stage.add(make, frame, 0.4, 1)


def _furniture(stage: _Stage, side: int) -> None:
    """Lamp posts, lights, signs, poles and street trees along the kerb."""
    random, street, plan = stage.random, stage.street, stage.plan
    edge = (street.left, street.right)[side > 0]
    inward = -float(side)
    line = side * (edge + 0.45)
    if random.chance(0.75):
        z, gap = random.uniform(6, 28), random.uniform(18, 34)
        while z < 100:
            stage.add(
                lambda frame, r: surroundings.lamp_post(frame, inward, r),
                street.place(line, z),
                0.2,
            )
            z += gap
    for _ in range(random.integer(4)):
        z = random.uniform(6, 50)
        offset = line + side * random.uniform(-0.1, 0.8)
        stage.add(surroundings.traffic_sign, street.place(offset, z), 0.3)
    for _ in range(random.integer(4)):
        stage.add(surroundings.plain_pole, street.place(line, random.uniform(5, 60)), 0.25)
    lights = []
    if street.crossing:
        middle, half = street.crossing
        lights = [middle - half - 0.8] if middle else []
    if not lights and random.chance(0.2):
        lights = [random.uniform(10, 35)]
    for z in lights:
        stage.add(
            lambda frame, r: surroundings.traffic_light(frame, inward, r),
            street.place(line, z),
            0.3,
        )
    if random.chance(plan.tree_rows):
        z, gap = random.uniform(3, 12), random.uniform(6, 14)
        offset = side * (edge + random.uniform(0.7, 1.3))
        while z < 90:
            if not _near_crossing(street, z, 2.0):
                frame = street.place(offset + random.uniform(-0.2, 0.2), z)
                height = random.uniform(4.5, 10.0)
                stage.add(lambda f, r, h=height: surroundings.tree(f, h, r), frame, 0.5)
            z += gap * random.uniform(0.8, 1.3)


def _frontage(stage: _Stage, side: int) -> None:
    """The row of properties on one side, from beside the camera into the distance."""
    random, street, plan = stage.random, stage.street, stage.plan
    line = plan.front[side]
    barrier = random.choice(("none", "fence", "wall", "hedge"), plan.barriers)
    paint = surroundings.wall_paint(random)
    fence_kind, fence_paint = surroundings.fence_paint(random)
    leaves = surroundings.leaf_colours(random)
    low = random.uniform(0.8, 2.2)
    inner = plan.walk[side][1] + 0.4
    z = random.uniform(-6.0, 2.0)
    while z < 105:
        width = random.uniform(*plan.plot)
        middle = z + width / 2
        if not _near_crossing(street, middle, width / 2 + 1.0):
            frame = street.place(side * line, middle)
            if random.chance(plan.built):
                setback = random.uniform(0.0, plan.setback)
                tall = random.uniform(*plan.storeys)
                deep = side * random.uniform(7.0, 13.0)
                built = width * (1.0 if random.chance(plan.closed) else random.uniform(0.6, 0.9))
                stage.solids += surroundings.building(
                    frame.at(side * setback, 0, 0), deep, built, tall, random, house=plan.houses
                )
            else:
                _garden(stage, frame, side, width)
            if barrier != "none" and random.chance(0.85):
                stretch = street.place(side * inner, middle)
                if barrier == "fence":
                    stage.solids += surroundings.fence(stretch, width, fence_kind, fence_paint, low)
                elif barrier == "wall":
                    stage.solids += surroundings.wall(stretch, width, random, paint, low)
                else:
                    stage.solids += surroundings.hedge(stretch, width, low, leaves, random)
            if random.chance(plan.yard_plants):
                where = street.place(
                    side * (inner + 1.5), middle + random.uniform(-0.3, 0.3) * width
                )
                if random.chance(0.5):
                    stage.solids += surroundings.tree(where, random.uniform(3.5, 8.0), random)
                else:
                    stage.solids += surroundings.bush(where, random.uniform(0.8, 1.8), random)
        z += width + (0.05 if random.chance(plan.closed) else random.uniform(0.5, 5.0))


def _garden(stage: _Stage, frame: Frame, side: int, width: float) -> None:
    """An unbuilt plot: trees, bushes or nothing."""
    random = stage.random
    for _ in range(random.integer(4)):
        place = frame.at(side * random.uniform(0, 12), 0, random.uniform(-0.5, 0.5) * width)
        if random.chance(0.6):
            stage.solids += surroundings.tree(place, random.uniform(4.0, 12.0), random)
        else:
            stage.solids += surroundings.bush(place, random.uniform(1.0, 2.5), random)


def _background(stage: _Stage) -> None:
    """Distant woods, hills and houses, so that the horizon is not empty."""
    random = stage.random
    green = Tag(classes.VEGETATION)
    leaves = surroundings.leaf_colours(random)
    for _ in range(5 + random.integer(8)):
        x, z = random.uniform(-110, 110), random.uniform(105, 145)
        if random.chance(stage.plan.built * 0.7):
            half = (random.uniform(4, 12), random.uniform(3, 16), random.uniform(4, 8))
            tone = random.uniform(0.12, 0.5)
            paint = Paint(
                "facade",
                ((tone, 0.95 * tone, 0.9 * tone), rgb(70, 80, 92), (tone, tone, tone)),
                (3.0, 3.0, 0.5, 0.5, 0.0, 0.5),
            )
            stage.solids.append(box(Frame((x, half[1], z)), half, Tag(classes.BUILDING), paint))
        else:
            height = random.uniform(3, 11)
            half = (random.uniform(7, 24), height, 5.0)
            offsets = (float(random.integer(256)), float(random.integer(256)))
            wood = Paint("foliage", leaves, offsets)
            at = Frame((x, 0.35 * height, z))
            stage.solids.append(ellipsoid(at, half, green, wood, ragged=0.35, shadow=False))

"""Pedestrians and riders, with the parts of PASCAL Person-Part; bicycles and motorcycles."""

import math

from input_pipeline.streets import classes
from input_pipeline.streets.rng import Random
from input_pipeline.streets.solids import (
    Frame,
    Paint,
    Solid,
    Tag,
    box,
    card,
    cylinder,
    ellipsoid,
)
from input_pipeline.streets.textures import rgb

_SKIN = (rgb(236, 196, 170), rgb(214, 160, 125), rgb(160, 105, 72), rgb(105, 68, 48))
_HAIR = (rgb(30, 24, 20), rgb(70, 45, 28), rgb(150, 110, 60), rgb(160, 160, 158), rgb(20, 20, 22))
_BLACK = rgb(28, 28, 30)
_METAL = rgb(150, 152, 155)


def any_colour(random: Random, brightness: float = 1.0) -> tuple[float, float, float]:
    """Any colour: most are dull, some are strong."""
    grey = random.uniform(0.02, 0.75)
    strength = random.choice((0.15, 0.5, 0.95), (5, 3, 3))
    channels = [random.uniform(0.0, 0.9) for _ in range(3)]
    return tuple(brightness * (grey + strength * (c * c - grey)) for c in channels)


class _Body:
    """Adds one person's limbs, all measured in fractions of the body height."""

    def __init__(self, frame: Frame, height: float, semseg: int, instance: int, random: Random):
        self.frame, self.height = frame, height
        self.semseg, self.instance = semseg, instance
        self.solids: list[Solid] = []
        self.skin = random.choice(_SKIN)
        self.hair = random.choice(_HAIR)
        top, bottom = any_colour(random), any_colour(random, random.choice((0.25, 1.0)))
        stripe = random.choice((0.0, 0.4, 0.2), (5, 1, 1))
        self.top = Paint("cloth", (top, any_colour(random)), (stripe,))
        self.bottom = Paint("cloth", (bottom, bottom))
        bare = Paint("plain", (self.skin,))
        self.sleeve = bare if random.chance(0.35) else self.top
        self.leg = bare if random.chance(0.2) else self.bottom
        self.shoe = Paint("plain", (any_colour(random, 0.6),))

    def blob(self, frame: Frame, half, part: int, paint: Paint) -> None:
        scaled = tuple(extent * self.height for extent in half)
        self.solids.append(ellipsoid(frame, scaled, Tag(self.semseg, self.instance, part), paint))

    def limb(self, joint: Frame, length: float, radius: float, part: int, paint: Paint) -> Frame:
        """Hangs a limb down from a joint and returns the next joint."""
        scaled = length * self.height
        self.blob(joint.at(0, -scaled / 2, 0), (radius, 0.6 * length, radius), part, paint)
        return joint.at(0, -scaled, 0)

    def head(self, neck: Frame, helmet=None) -> None:
        centre = neck.at(0, 0.085 * self.height, 0.012 * self.height)
        colours = (self.skin, helmet or self.hair)
        paint = Paint("head", colours, (-0.45,))
        self.blob(centre, (0.046, 0.068, 0.056), classes.HEAD, paint)
        if helmet:
            self.blob(
                centre.at(0, 0.02 * self.height, 0),
                (0.055, 0.06, 0.068),
                classes.HEAD,
                Paint("plain", (helmet,)),
            )
        self.blob(neck, (0.026, 0.05, 0.026), classes.HEAD, Paint("plain", (self.skin,)))

    def torso(self, hip: Frame, breadth: float) -> Frame:
        """Torso and hips; returns the frame of the neck."""
        h = self.height
        self.blob(
            hip.at(0, 0.19 * h, 0),
            (0.105 * breadth, 0.17, 0.065 * breadth),
            classes.TORSO,
            self.top,
        )
        self.blob(
            hip.at(0, 0.03 * h, 0),
            (0.09 * breadth, 0.085, 0.068 * breadth),
            classes.TORSO,
            self.bottom,
        )
        return hip.at(0, 0.335 * h, 0)

    def arm(self, neck: Frame, side: float, shoulder: float, elbow: float, breadth: float) -> None:
        """shoulder, elbow: swing forward as tan(angle / 2)."""
        joint = neck.at(side * 0.108 * breadth * self.height, -0.03 * self.height, 0)
        joint = joint.rolled(-side * 0.06).pitched(-shoulder)
        joint = self.limb(joint, 0.165, 0.03, classes.UPPER_ARM, self.sleeve)
        joint = self.limb(joint.pitched(-elbow), 0.15, 0.023, classes.LOWER_ARM, self.sleeve)
        hand = Paint("plain", (self.skin,))
        self.blob(joint, (0.02, 0.035, 0.024), classes.LOWER_ARM, hand)

    def step(self, hip: Frame, side: float, thigh: float, knee: float) -> None:
        joint = hip.at(side * 0.05 * self.height, 0, 0).pitched(-thigh)
        joint = self.limb(joint, 0.245, 0.046, classes.UPPER_LEG, self.leg)
        joint = self.limb(joint.pitched(knee), 0.245, 0.035, classes.LOWER_LEG, self.leg)
        foot = joint.at(0, 0.0, 0.035 * self.height)
        self.blob(foot, (0.026, 0.022, 0.068), classes.LOWER_LEG, self.shoe)


def pedestrian(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A person who stands or walks on the frame's origin, towards its forward axis."""
    height = random.uniform(1.0, 1.4) if random.chance(0.12) else random.uniform(1.55, 1.92)
    body = _Body(frame, height, classes.PERSON, instance, random)
    breadth = random.uniform(0.9, 1.25)
    swing = random.uniform(-0.24, 0.24) if random.chance(0.75) else 0.02
    hip = frame.at(0, 0.51 * height, 0)
    trunk = hip.pitched(random.uniform(-0.01, 0.05))
    neck = body.torso(trunk, breadth)
    body.head(neck)
    for side in (-1.0, 1.0):
        body.step(hip, side, side * swing, random.uniform(0.03, 0.12) + max(0.0, -side * swing))
        bend = random.choice((0.08, 0.25, 0.7), (4, 2, 1))
        body.arm(neck, side, -side * swing * 0.8, bend, breadth)
    tag = Tag(classes.PERSON, instance, classes.TORSO)
    kind = random.choice(("none", "backpack", "coat"), (5, 2, 3))
    paint = Paint("cloth", (any_colour(random), any_colour(random)), (0.0,))
    if kind == "backpack":
        pack = trunk.at(0, 0.2 * height, -0.085 * height)
        half = (0.08 * height, 0.11 * height, 0.05 * height)
        body.solids.append(ellipsoid(pack, half, tag, paint))
    elif kind == "coat":
        body.blob(
            trunk.at(0, 0.07 * height, 0),
            (0.115 * breadth, 0.23, 0.085 * breadth),
            classes.TORSO,
            body.top,
        )
    return body.solids


def _rider(frame: Frame, instance: int, seat: float, lean: float, reach: float, random: Random):
    """A rider whose hips are `seat` metres above the frame's origin."""
    height = random.uniform(1.6, 1.88)
    body = _Body(frame, height, classes.RIDER, instance, random)
    breadth = random.uniform(0.95, 1.2)
    hip = frame.at(0, seat, -0.15)
    neck = body.torso(hip.pitched(lean), breadth)
    helmet = any_colour(random) if random.chance(0.6) else None
    body.head(neck.pitched(-0.6 * lean), helmet)
    pedal = random.uniform(-0.16, 0.16)
    for side in (-1.0, 1.0):
        body.arm(neck, side, reach, random.uniform(0.05, 0.2), breadth)
        thigh = 0.48 + side * pedal
        body.step(hip, side, thigh, thigh + random.uniform(0.0, 0.12))
    return body.solids


def _tube(frame: Frame, start, end, radius: float, tag: Tag, paint: Paint) -> Solid:
    """A tube in the frame's plane a = start[0] between points (a, b, c)."""
    b, c = end[1] - start[1], end[2] - start[2]
    length = math.sqrt(b * b + c * c)
    middle = frame.at(start[0], (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
    cos, sin = b / length, c / length
    up = tuple(cos * u + sin * f for u, f in zip(middle.up, middle.forward, strict=True))
    forward = tuple(cos * f - sin * u for u, f in zip(middle.up, middle.forward, strict=True))
    turned = middle._replace(up=up, forward=forward)
    return cylinder(turned, (radius, length / 2, radius), tag, paint, shadow=False)


def bicycle(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A bicycle that stands on the frame's origin."""
    tag = Tag(classes.BICYCLE, instance)
    colour = Paint("plain", (any_colour(random),))
    dark = Paint("plain", (_BLACK,), (0.84,))
    solids = []
    for c in (-0.52, 0.52):
        hub = frame.at(0, 0.34, c)
        side = Frame(hub.origin, hub.forward, hub.up, hub.right)
        solids.append(card(side, (0.34, 0.34), tag, dark, "ring"))
        solids.append(_tube(hub, (0, -0.3, 0.02), (0, 0.3, -0.02), 0.012, tag, colour))
        # A ring that is seen edge-on would vanish; its tyre has some width.
        solids.append(box(hub, (0.02, 0.33, 0.06), tag, dark))
    for start, end in (
        ((0, 0.34, -0.52), (0, 0.85, -0.15)),
        ((0, 0.3, -0.02), (0, 0.88, -0.2)),
        ((0, 0.8, -0.17), (0, 0.82, 0.38)),
        ((0, 0.3, -0.02), (0, 0.75, 0.4)),
        ((0, 0.34, 0.52), (0, 1.0, 0.36)),
        ((0, 0.34, -0.52), (0, 0.3, -0.02)),
    ):
        solids.append(_tube(frame, start, end, 0.026, tag, colour))
    solids.append(box(frame.at(0, 1.0, 0.36), (0.27, 0.02, 0.03), tag, dark))
    solids.append(box(frame.at(0, 0.9, -0.21), (0.07, 0.035, 0.13), tag, dark))
    return solids


def cyclist(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A rider (`instance`) on a bicycle (`instance` + 1)."""
    lean = random.uniform(0.1, 0.32)
    rider = _rider(frame, instance, 0.95, lean, 0.3 + 0.5 * lean, random)
    return rider + bicycle(frame, instance + 1, random)


def motorcycle(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A motorcycle that stands on the frame's origin."""
    tag = Tag(classes.MOTORCYCLE, instance)
    colour = any_colour(random)
    paint, dark = Paint("plain", (colour,)), Paint("plain", (_BLACK,))
    tyre = Paint("wheel", (_BLACK, _METAL))
    solids = []
    for c in (-0.68, 0.68):
        hub = frame.at(0, 0.31, c)
        axle = Frame(hub.origin, hub.forward, hub.right, hub.up)
        solids.append(cylinder(axle, (0.31, 0.075, 0.31), tag, tyre))
    solids += [
        ellipsoid(frame.at(0, 0.5, 0.0), (0.17, 0.22, 0.42), tag, dark),
        ellipsoid(frame.at(0, 0.8, 0.18), (0.18, 0.16, 0.3), tag, paint),
        ellipsoid(frame.at(0, 0.78, -0.42), (0.16, 0.1, 0.42), tag, dark),
        ellipsoid(frame.at(0, 0.72, 0.62), (0.12, 0.2, 0.2), tag, paint),
        _tube(frame, (0.1, 0.31, 0.7), (0.1, 1.0, 0.48), 0.035, tag, Paint("plain", (_METAL,))),
        _tube(frame, (-0.1, 0.31, 0.7), (-0.1, 1.0, 0.48), 0.035, tag, Paint("plain", (_METAL,))),
        box(frame.at(0, 1.02, 0.44), (0.36, 0.025, 0.03), tag, dark),
        box(frame.at(0, 1.1, 0.6).pitched(-0.25), (0.17, 0.16, 0.015), tag, dark),
    ]
    if random.chance(0.4):
        solids.append(box(frame.at(0, 0.95, -0.75), (0.2, 0.17, 0.18), tag, dark))
    return solids


def motorcyclist(frame: Frame, instance: int, random: Random) -> list[Solid]:
    """A rider (`instance`) on a motorcycle (`instance` + 1)."""
    rider = _rider(frame, instance, 0.86, random.uniform(0.05, 0.2), 0.4, random)
    return rider + motorcycle(frame, instance + 1, random)

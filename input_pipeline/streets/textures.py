"""How surfaces look: one function per texture name, from points on the solids to albedo.

Colours are linear light; the camera's transfer curve is a square root, so `rgb` squares.
Nothing here decides a label.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from input_pipeline.streets import noise
from input_pipeline.streets.solids import Solids

F32 = np.float32
_COLOURS, _NUMBERS = 4, 6


def rgb(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Linear light of a display colour (0 ... 255)."""
    r, g, b = ((channel / 255) * (channel / 255) for channel in (red, green, blue))
    return r, g, b


@dataclasses.dataclass
class Samples:
    """Points on surfaces of one texture.

    Attributes:
      unit: three arrays [n], the point in the solid's frame units (−1 ... 1).
      face: [n] the nearest face of the cube (boxes), or of the cylinder.
      depth: [n] metres from the camera; fine detail fades with it.
      owner: [n] the solid.
      half: [3, N] half extents of the solids in metres.
      colours: [4, 3, N] linear RGB of the solids; numbers: [6, N].
    """

    unit: tuple[np.ndarray, np.ndarray, np.ndarray]
    face: np.ndarray
    depth: np.ndarray
    owner: np.ndarray
    half: np.ndarray
    colours: np.ndarray
    numbers: np.ndarray

    def __post_init__(self):
        # Another number for every solid, to shift its patterns by.
        self.key = (self.owner % 97).astype(F32)

    def colour(self, k: int) -> np.ndarray:
        """[3, n]."""
        return np.take(self.colours[k], self.owner, axis=1)

    def number(self, k: int) -> np.ndarray:
        """[n]."""
        return np.take(self.numbers[k], self.owner)

    def extent(self, axis: int) -> np.ndarray:
        """[n] half extents in metres."""
        return np.take(self.half[axis], self.owner)

    def metres(self, axis: int) -> np.ndarray:
        return self.unit[axis] * self.extent(axis)

    def across(self) -> np.ndarray:
        """Metres along the horizontal edge of an upright face."""
        return np.where(self.face < 2, self.metres(2), self.metres(0)) + self.key * F32(7.3)

    def height(self) -> np.ndarray:
        """Metres above the solid's lower end."""
        return self.metres(1) + self.extent(1)

    def grain(self, per_metre: float, name: str = "grain") -> np.ndarray:
        """Noise in [−1, 1] on the surface, fading with the distance."""
        u = (self.metres(0) + self.metres(2)) * F32(per_metre) + self.key * F32(31)
        v = (self.metres(1) + F32(0.5) * self.metres(2)) * F32(per_metre) + self.key * F32(17)
        value = noise.lookup(noise.tiles()[name], u, v) * F32(2) - F32(1)
        return value / (F32(1) + self.depth * F32(0.03))


def _fraction(value: np.ndarray) -> np.ndarray:
    return value - np.floor(value)


def _inside(value, low, high) -> np.ndarray:
    return (value >= low) & (value < high)


def _put(albedo: np.ndarray, where: np.ndarray, colour) -> None:
    """Paints [3, n] with a colour [3, n], a single RGB or a grey where `where` [n] says."""
    colour = np.asarray(colour, F32)
    np.copyto(albedo, colour[:, None] if colour.ndim == 1 else colour, where=where)


def plain(s: Samples) -> np.ndarray:
    """One colour, a little uneven. colours: surface."""
    return s.colour(0) * (1 + F32(0.12) * s.grain(24))


def cloth(s: Samples) -> np.ndarray:
    """Two colours in folds or stripes. colours: main, second. numbers: second's share, stripe."""
    stripe = _fraction(s.unit[1] * F32(2.5) + s.key) < s.number(0)
    albedo = np.where(stripe, s.colour(1), s.colour(0))
    return albedo * (1 + F32(0.3) * s.grain(60))


def head(s: Samples) -> np.ndarray:
    """colours: skin, hair."""
    hair = (s.unit[1] > F32(0.35)) | (s.unit[2] < s.number(0))
    return np.where(hair, s.colour(1), s.colour(0))


def foliage(s: Samples) -> np.ndarray:
    """colours: light leaves, dark leaves."""
    light = F32(0.5) + F32(0.5) * s.grain(9)
    light = np.clip(light + F32(0.5) * s.grain(28, "white"), 0, 1)
    light *= F32(0.8) + F32(0.2) * s.unit[1]
    return s.colour(1) + (s.colour(0) - s.colour(1)) * light


def bark(s: Samples) -> np.ndarray:
    return s.colour(0) * (1 + F32(0.4) * s.grain(30))


def facade(s: Samples) -> np.ndarray:
    """Plaster or brick with windows and a ground floor.

    colours: wall, glass, frames and cornice, ground floor. numbers: bay width, storey height,
    window's share across, and up; brick courses per metre (0: plaster), ground floor height.
    """
    u, v = s.across(), s.height()
    bay, storey, wide, tall, courses, ground = (s.number(k) for k in range(6))
    albedo = s.colour(0) * (1 + F32(0.12) * s.grain(3, "patches"))
    near = F32(1) / (F32(1) + s.depth * F32(0.06))
    brick = courses > 0
    row = np.floor(v * courses)
    joint = (_fraction(v * courses) < F32(0.16)) | (
        _fraction(u * courses * F32(0.5) + row * F32(0.5)) < F32(0.08)
    )
    albedo = albedo * (1 - F32(0.4) * near * (joint & brick))
    level = np.maximum(v - ground, 0) / storey
    column = u / bay
    fu, fv = _fraction(column), _fraction(level)
    upper = (v > ground) & (v < 2 * s.extent(1) - F32(0.35) * storey)
    across, up = np.abs(fu - F32(0.5)) * 2, np.abs(fv - F32(0.52)) * 2
    window = upper & (across < wide) & (up < tall)
    frame = upper & (across < wide + F32(0.12)) & (up < tall + F32(0.14)) & ~window
    chance = noise.lookup(noise.tiles()["white"], np.floor(column) + s.key * 13, np.floor(level))
    glass = s.colour(1) * (F32(0.5) + F32(1.2) * chance)
    curtain = (chance > F32(0.75)) & (fv > F32(0.5))
    _put(glass, curtain, F32(0.35))
    cross = window & ((across < F32(0.06)) | (np.abs(up - tall * F32(0.4)) < F32(0.05)))
    _put(albedo, frame | (upper & (fv > F32(0.97))), s.colour(2))
    _put(albedo, window, glass)
    _put(albedo, cross, s.colour(2))
    shop = v < ground
    _put(albedo, shop, s.colour(3))
    pane = shop & _inside(v / np.maximum(ground, 1), F32(0.15), F32(0.78)) & (across < F32(0.8))
    goods = noise.lookup(noise.tiles()["white"], u * 3 + s.key, v * 2)
    _put(albedo, pane, s.colour(1) * (F32(0.6) + F32(1.4) * goods))
    door = shop & (chance > F32(0.6)) & (across < F32(0.35)) & (v < F32(2.2))
    _put(albedo, door, s.colour(2) * F32(0.5))
    return albedo


def roof(s: Samples) -> np.ndarray:
    """colours: tiles."""
    rows = _fraction(s.metres(1) * F32(2.5)) < F32(0.25)
    return s.colour(0) * (1 - F32(0.35) * rows + F32(0.2) * s.grain(6))


def boards(s: Samples) -> np.ndarray:
    """colours: boards. numbers: boards per metre."""
    u = s.across() * s.number(0)
    gap = _fraction(u) < F32(0.12)
    tone = noise.lookup(noise.tiles()["white"], np.floor(u) + s.key, s.key)
    return s.colour(0) * ((F32(0.8) + F32(0.4) * tone) * (1 - F32(0.7) * gap))


def masonry(s: Samples) -> np.ndarray:
    """Stones or bricks. colours: stone, joint. numbers: courses per metre."""
    courses = s.number(0)
    u, v = s.across() * courses * F32(0.5), s.height() * courses
    row = np.floor(v)
    shifted = u + row * F32(0.5)
    joint = (_fraction(v) < F32(0.14)) | (_fraction(shifted) < F32(0.07))
    tone = noise.lookup(noise.tiles()["white"], np.floor(shifted) + s.key * 3, row)
    albedo = s.colour(0) * (F32(0.75) + F32(0.5) * tone)
    _put(albedo, joint & (s.depth < 40), s.colour(1))
    return albedo * (1 + F32(0.2) * s.grain(5, "patches"))


def hull(s: Samples) -> np.ndarray:
    """A car's lower body. colours: paint, trim. numbers: height of the sill (unit), lights."""
    a, b, c = s.unit
    albedo = s.colour(0)
    sides = s.face < 2
    _put(albedo, b < s.number(0), s.colour(1))
    seam = (
        sides
        & (b > F32(-0.6))
        & (np.abs(_fraction(c * F32(1.4) + F32(0.28)) - F32(0.5)) < F32(0.015))
    )
    _put(albedo, seam, s.colour(1))
    handle = sides & _inside(b, F32(0.45), F32(0.6)) & (np.abs(np.abs(c) - F32(0.22)) < F32(0.04))
    _put(albedo, handle, s.colour(1))
    front, back = s.face == 5, s.face == 4
    lamp = _inside(b, F32(0.15), F32(0.7)) & (np.abs(a) > F32(0.6))
    _put(albedo, front & lamp, F32(0.75))
    _put(
        albedo,
        front & ~lamp & _inside(b, F32(-0.5), F32(0.35)) & (np.abs(a) < F32(0.6)),
        s.colour(1),
    )
    _put(albedo, back & lamp, (0.45, 0.01, 0.01))
    plate = (front | back) & (np.abs(a) < F32(0.28)) & _inside(b, F32(-0.35), F32(0.02))
    _put(albedo, plate, F32(0.6))
    return albedo


def cabin(s: Samples) -> np.ndarray:
    """Glass with pillars and a roof. colours: paint, glass. numbers: pillars along the side."""
    a, b, c = s.unit
    albedo = s.colour(1)
    glint = noise.lookup(noise.tiles()["patches"], (a + c) * 40 + s.key * 11, b * 20 + s.key)
    albedo = albedo * (F32(0.5) + F32(1.1) * glint)
    roof_or_sill = (b > F32(0.8)) | (b < F32(-0.86)) | (s.face == 3)
    side = s.face < 2
    pillar = np.where(
        side,
        _fraction((c + 1) * F32(0.5) * s.number(0) + F32(0.06)) < F32(0.12),
        np.abs(a) > F32(0.88),
    )
    _put(albedo, roof_or_sill | pillar, s.colour(0))
    return albedo


def wheel(s: Samples) -> np.ndarray:
    """colours: tyre, rim. Axis 1 is the axle."""
    a, c = s.unit[0], s.unit[2]
    radius2 = a * a + c * c
    rim = (radius2 < F32(0.36)) & (s.face > 0)
    spokes = (a * c * 6 > -F32(0.25)) & (radius2 > F32(0.02))
    return np.where((rim & spokes), s.colour(1), s.colour(0))


def cargo(s: Samples) -> np.ndarray:
    """A lorry's body. colours: body, band. numbers: least and greatest height of the band."""
    b = s.unit[1]
    albedo = s.colour(0) * (1 + F32(0.1) * s.grain(2, "patches"))
    _put(albedo, _inside(b, s.number(0), s.number(1)), s.colour(1))
    ribs = _fraction(s.across() * F32(1.6)) < F32(0.08)
    edge = (np.abs(b) > F32(0.96)) | ((s.face >= 4) & (np.abs(s.unit[0]) < F32(0.02)))
    albedo = albedo * (1 - F32(0.25) * ribs)
    _put(albedo, edge, s.colour(2))
    lamp = (s.face == 4) & (np.abs(s.unit[0]) > F32(0.8)) & (b < F32(-0.88))
    _put(albedo, lamp, (0.4, 0.01, 0.01))
    return albedo


def bus(s: Samples) -> np.ndarray:
    """colours: paint, glass, band. numbers: windows per metre."""
    a, b = s.unit[0], s.unit[1]
    albedo = s.colour(0)
    _put(albedo, _inside(b, F32(-0.25), F32(-0.05)), s.colour(2))
    side = s.face < 2
    pane = _inside(b, F32(-0.02), F32(0.66)) & (
        ~side | (_fraction(s.across() * s.number(0)) > F32(0.1))
    )
    pane |= (s.face == 5) & _inside(b, F32(-0.45), F32(0.66)) & (np.abs(a) < F32(0.9))
    glint = noise.lookup(noise.tiles()["patches"], s.across() * 12, b * 30)
    _put(albedo, pane & (s.face != 3), s.colour(1) * (F32(0.5) + glint))
    sign = (s.face >= 4) & _inside(b, F32(0.72), F32(0.92)) & (np.abs(a) < F32(0.7))
    _put(albedo, sign, (0.5, 0.3, 0.02))
    lamp = (s.face >= 4) & (np.abs(a) > F32(0.7)) & _inside(b, F32(-0.8), F32(-0.62))
    _put(albedo, lamp & (s.face == 4), (0.45, 0.01, 0.01))
    _put(albedo, lamp & (s.face == 5), F32(0.7))
    return albedo


def traffic_light(s: Samples) -> np.ndarray:
    """A black box with three lamps; numbers: which one shines (0 red, 1 yellow, 2 green)."""
    a, b = s.unit[0], s.unit[1]
    albedo = np.full((3, len(a)), 0.02, F32)
    lamps = ((0.9, 0.03, 0.02), (0.9, 0.5, 0.02), (0.05, 0.8, 0.25))
    for k, colour in enumerate(lamps):
        dy = (b - F32(0.62 * (1 - k))) * F32(3.2)
        disc = (a * a * F32(1.7) + dy * dy < F32(0.8)) & (s.face >= 4)
        shines = s.number(0) == k
        _put(albedo, disc & shines, np.array(colour, F32) * F32(2.5))
        _put(albedo, disc & ~shines, np.array(colour, F32) * F32(0.08))
    return albedo


def sign(s: Samples) -> np.ndarray:
    """colours: ground, border, glyph. numbers: border from this radius (unit), glyph kind, outline.

    Outline 0 is a disc, 1 a square, 2 a triangle.
    """
    a, b = s.unit[0], s.unit[1]
    outline = s.number(2)
    round_ = np.sqrt(a * a + b * b)
    square = np.maximum(np.abs(a), np.abs(b))
    triangle = np.maximum(-b, (F32(2) * np.abs(a) + b) * F32(0.9))
    reach = np.where(outline == 0, round_, np.where(outline == 1, square, triangle))
    albedo = s.colour(0)
    kind = s.number(1)
    bar = (np.abs(b) < F32(0.16)) & (np.abs(a) < F32(0.6))
    arrow = (np.abs(a) < F32(0.13)) & (np.abs(b) < F32(0.55))
    text = (
        (_fraction(b * F32(2.2)) < F32(0.45))
        & (_fraction(a * 4 + s.key) < F32(0.7))
        & (square < F32(0.75))
    )
    glyph = np.where(kind == 0, bar, np.where(kind == 1, arrow, text & (kind == 2)))
    _put(albedo, glyph.astype(bool), s.colour(2))
    _put(albedo, reach > s.number(0), s.colour(1))
    return albedo


TEXTURES: dict[str, Callable[[Samples], np.ndarray]] = {
    function.__name__: function
    for function in (
        plain, cloth, head, foliage, bark, facade, roof, boards, masonry, hull, cabin, wheel,
        cargo, bus, traffic_light, sign,
    )
}  # fmt: skip


def albedo(solids: Solids, solid, face, unit, depth) -> np.ndarray:
    """Albedo [3, n] float32 of points on solids.

    Args:
      solid, face: [n] integers.
      unit: three float32 arrays [n], the points in the solids' frame units.
      depth: [n] metres.
    """
    paints = [item.paint for item in solids.items]
    colours = np.array([(p.colours + p.colours[-1:] * 3)[:_COLOURS] for p in paints], F32)
    numbers = np.array([(p.numbers + (0.0,) * _NUMBERS)[:_NUMBERS] for p in paints], F32)
    tables = {
        "half": np.ascontiguousarray(solids.half.T, F32),
        "colours": np.ascontiguousarray(colours.transpose(1, 2, 0)),
        "numbers": np.ascontiguousarray(numbers.T),
    }
    index = {name: k for k, name in enumerate(TEXTURES)}
    texture = np.array([index[paint.texture] for paint in paints], np.int8)[solid]
    order = np.argsort(texture, kind="stable")
    starts = np.searchsorted(texture[order], np.arange(len(index) + 1))
    result = np.empty((3, len(solid)), F32)
    for k, function in enumerate(TEXTURES.values()):
        where = order[starts[k] : starts[k + 1]]
        if where.size:
            points = tuple(component[where] for component in unit)
            samples = Samples(points, face[where], depth[where], solid[where], **tables)
            result[:, where] = function(samples)
    return result

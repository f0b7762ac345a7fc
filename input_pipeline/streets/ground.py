"""How the ground looks: asphalt, paving, grass and road markings. Decides no label."""

import numpy as np

from input_pipeline.streets import noise
from input_pipeline.streets.street import ROAD, Street

F32 = np.float32


def albedo(street: Street, region, x, z, depth) -> np.ndarray:
    """Albedo [3, n] float32 of points of the ground.

    Args:
      region: [n] of the street's regions.
      x, z: [n] float64, where in the world.
      depth: [n] float32, metres from the camera; detail fades with it.
    """
    middle, _ = street.middle(z)
    offset = (x - middle).astype(F32)
    z = np.minimum(z, 1000.0).astype(F32)
    offset = np.clip(offset, -1000, 1000)
    fade = F32(1) / (F32(1) + depth * F32(0.035))
    result = np.empty((3, len(region)), F32)
    for k, (_, paint) in enumerate(street.regions):
        where = np.flatnonzero(region == k)
        if not where.size:
            continue
        light, dark = _column(paint.colours[0]), _column(paint.colours[-1])
        u, v, f = offset[where], z[where], fade[where]
        if paint.texture == "grass":
            share = 0.5 + f * (_noise("patches", u, v, 5) * F32(0.7) + _noise("grain", u, v, 21))
            result[:, where] = dark + np.clip(share, 0, 1) * (light - dark)
            continue
        tone = 1 + F32(0.35) * f * _noise("grain", u, v, 31)
        tone += F32(0.22) * _noise("patches", u, v, 3)
        colour = tone * light
        if paint.texture == "slabs":
            size = F32(paint.numbers[0])
            row = np.floor(v / size)
            joint = (_part(v / size) < F32(0.07)) | (_part(u / size + row * F32(0.5)) < F32(0.07))
            colour *= 1 - F32(0.5) * f * joint
        elif paint.texture == "cobbles":
            joint = (_part(v * 6) < F32(0.2)) | (
                _part(u * 6 + np.floor(v * 6) * F32(0.5)) < F32(0.2)
            )
            colour *= 1 - F32(0.45) * f * joint
        elif k == ROAD:
            cracks = _noise("patches", u, v * F32(0.4), 2)
            colour *= 1 - F32(0.4) * ((cracks > F32(0.03)) & (cracks < F32(0.06)))
        result[:, where] = _markings(street, u, v, colour) if k == ROAD else colour
    return result


def _column(colour) -> np.ndarray:
    return np.array(colour, F32)[:, None]


def _part(value: np.ndarray) -> np.ndarray:
    return value - np.floor(value)


def _noise(name: str, u, v, per_metre: float) -> np.ndarray:
    """Noise in [−1, 1]."""
    scale = F32(per_metre)
    return noise.lookup(noise.tiles()[name], u * scale, v * scale) * F32(2) - F32(1)


def _markings(street: Street, u, v, colour: np.ndarray) -> np.ndarray:
    """Paints lines and zebra crossings on the carriageway, worn here and there."""
    painted = np.zeros(len(u), bool)
    yellow = np.zeros(len(u), bool)
    open_road = ~street.in_crossing(v)
    for line in street.lines:
        on = np.abs(u - F32(line.offset)) < F32(line.width / 2)
        if line.period:
            on &= _part(v / F32(line.period)) < F32(line.share)
        painted |= on & open_road
        yellow |= on & line.yellow
    for start, end in street.zebras:
        painted |= (v > F32(start)) & (v < F32(end)) & (_part(u) < F32(0.5))
        stop = (v > F32(start - 1.4)) & (v < F32(start - 1.0)) & (u > 0)
        painted |= stop
    wear = _noise("patches", u, v, 9) < F32(0.45)
    paint = np.where(yellow, _column((0.72, 0.5, 0.08)), F32(0.68))
    mix = (painted & wear) * F32(0.85)
    return colour + mix * (paint - colour)

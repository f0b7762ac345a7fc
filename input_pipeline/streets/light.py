"""Light on surfaces, the sky, fog, and the way through lens and sensor to 8 bits.

float32 with + − × ÷ √ only; nothing here decides a label.
"""

import numpy as np

from input_pipeline.streets import noise
from input_pipeline.streets.rng import Random
from input_pipeline.streets.scene import Bonnet
from input_pipeline.streets.weather import Weather

F32 = np.float32


def sky(weather: Weather, x, y, z) -> np.ndarray:
    """Radiance [3, n] of the sky in directions of the world (not normalised; y up)."""
    length = np.sqrt(x * x + y * y + z * z)
    up = np.clip(y / length, 0, 1)
    rise = np.sqrt(up)
    horizon, zenith = _colour(weather.horizon), _colour(weather.zenith)
    colour = horizon + rise * (zenith - horizon)
    # Clouds lie on a plane above; towards the horizon they blend into it.
    scale = F32(26) / np.maximum(y, F32(0.02) * length)
    u, v = x * scale + F32(weather.cloud_shift[0]), z * scale + F32(weather.cloud_shift[1])
    field = _bilinear(noise.tiles()["clouds"], u, v)
    level = F32(1 - weather.cover)
    share = np.clip((field - level * F32(0.9)) * F32(3.5), 0, 1) * np.clip(up * 9, 0, 1)
    tone = F32(1.08) - F32(0.3) * np.clip((field - level) * 2, 0, 1)
    colour += share * (tone * _colour(weather.cloud) - colour)
    s = weather.sun.direction.astype(F32)
    facing = (x * s[0] + y * s[1] + z * s[2]) / (length * np.sqrt(s[0] * s[0] + 1 + s[2] * s[2]))
    glow = np.maximum(facing, 0)
    glow = glow * glow
    glow = glow * glow
    glow = glow * glow
    strength = F32(0.25 * (1 - weather.cover))
    return colour + strength * glow * _colour(weather.sunlight)


def surfaces(weather: Weather, albedo, normals, lit) -> np.ndarray:
    """Radiance [3, n] of matt surfaces.

    Args:
      albedo: [3, n]; normals: three arrays [n]; lit: [n] share of the sun that arrives.
    """
    s = weather.sun.direction.astype(F32)
    s = s / np.sqrt(s[0] * s[0] + s[1] * s[1] + s[2] * s[2])
    direct = np.maximum(normals[0] * s[0] + normals[1] * s[1] + normals[2] * s[2], 0) * lit
    ambient = F32(0.62) + F32(0.38) * normals[1]
    light = direct * _colour(weather.sunlight) + ambient * _colour(weather.skylight)
    return albedo * light


def reflections(weather: Weather, radiance, gloss, normals, view) -> np.ndarray:
    """Adds the sky's mirror image on glossy surfaces (Schlick's Fresnel term)."""
    where = np.flatnonzero(gloss > 0)
    if not where.size:
        return radiance
    n = [component[where] for component in normals]
    d = [component[where] for component in view]
    length = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    d = [component / length for component in d]
    cosine = -(n[0] * d[0] + n[1] * d[1] + n[2] * d[2])
    up = d[1] + 2 * cosine * n[1]
    grazing = 1 - np.clip(cosine, 0, 1)
    square = grazing * grazing
    fresnel = gloss[where] * (F32(0.25) + F32(0.75) * square * square * grazing)
    horizon, zenith = _colour(weather.horizon), _colour(weather.zenith)
    share = np.clip(up * 2, 0, 1)
    mirrored = np.where(up > 0, horizon + share * (zenith - horizon), F32(0.25) * horizon)
    here = radiance[:, where]
    radiance[:, where] = here + fresnel * (mirrored - here)
    return radiance


def fogged(weather: Weather, radiance, distance) -> np.ndarray:
    """Mixes in fog: exp(−βr), written as a power that rounds the same everywhere."""
    base = F32(1) / (F32(1) + distance * F32(weather.fog / 4))
    clear = base * base
    clear = clear * clear
    fog = _colour(weather.horizon)
    return fog + clear * (radiance - fog)


def expose(value: np.ndarray, weather: Weather, bonnet: Bonnet | None, random: Random):
    """Radiance to an image: bonnet, lens, sensor, 8 bits.

    Args:
      value: [3, H, W] radiance of the pixels.
      random: for the sensor's noise.

    Returns:
      uint8 [H, W, 3].
    """
    _, height, width = value.shape
    if bonnet is not None:
        value = _with_bonnet(value, weather, bonnet)
    if weather.blur:
        value = _blurred(value, F32(weather.blur))
    y = ((np.arange(height, dtype=F32) + F32(0.5)) / F32(height) * 2 - 1)[:, None]
    x = ((np.arange(width, dtype=F32) + F32(0.5)) / F32(width) * 2 - 1)[None, :]
    gain = F32(weather.exposure) * (1 - F32(weather.vignette) * (x * x + y * y) / 2)
    value = value * gain * _colour(weather.cast)[:, :, None]
    value = value * (1 + value * F32(0.16)) / (1 + value * F32(0.5))  # highlights roll off
    # Four bytes add up to something close to a Gaussian of this standard deviation.
    throws = random.bytes((4, 3, height, width))
    total = throws[0].astype(np.int32)
    for throw in throws[1:]:
        total += throw
    gaussian = (total - 510).astype(F32) / F32(147.8)
    deviation = F32(weather.noise) * (F32(0.6) + F32(1.6) * np.sqrt(np.maximum(value, 0)))
    value = np.clip(value + gaussian * deviation, 0, 1)
    image = np.floor(np.sqrt(value) * F32(255) + F32(0.5)).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def bonnet_mask(bonnet: Bonnet, height: int, width: int) -> np.ndarray:
    """[H, W]: pixels whose centres the bonnet covers."""
    y = (2 * np.arange(height, dtype=np.float64) + 1) / height - 1
    x = (2 * np.arange(width, dtype=np.float64) + 1) / width - 1
    return y[:, None] > bonnet.middle + bonnet.bend * x * x


def _with_bonnet(value: np.ndarray, weather: Weather, bonnet: Bonnet) -> np.ndarray:
    _, height, width = value.shape
    y = ((2 * np.arange(height) + 1) / height - 1).astype(F32)[:, None]
    x = ((2 * np.arange(width) + 1) / width - 1).astype(F32)[None, :]
    depth = y - F32(bonnet.middle) - F32(bonnet.bend) * x * x
    cover = np.clip(depth * F32(height / 2) + F32(0.5), 0, 1)
    shine = np.clip(1 - depth * 9, 0, 1) * F32(0.5)
    light = _colour(weather.skylight) + F32(0.5) * _colour(weather.sunlight)
    paint = (_colour(bonnet.colour) * light)[:, :, None]
    paint = paint + shine * (_colour(weather.horizon)[:, :, None] - paint)
    return value + cover * (paint - value)


def _blurred(value: np.ndarray, weight: np.float32) -> np.ndarray:
    padded = np.pad(value, ((0, 0), (1, 1), (0, 0)), mode="edge")
    value = value + weight * (padded[:, :-2] + padded[:, 2:] - 2 * value)
    padded = np.pad(value, ((0, 0), (0, 0), (1, 1)), mode="edge")
    return value + weight * (padded[:, :, :-2] + padded[:, :, 2:] - 2 * value)


def _bilinear(tile: np.ndarray, u, v) -> np.ndarray:
    left, top = np.floor(u), np.floor(v)
    a, b = u - left, v - top
    corner = [noise.lookup(tile, left + i, top + j) for j in (0, 1) for i in (0, 1)]
    upper = corner[0] + a * (corner[1] - corner[0])
    lower = corner[2] + a * (corner[3] - corner[2])
    return upper + b * (lower - upper)


def _colour(colour) -> np.ndarray:
    return np.array(colour, F32)[:, None]

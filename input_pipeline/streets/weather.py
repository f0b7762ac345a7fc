"""Light, sky, fog and what the camera's sensor makes of them."""

import dataclasses

import numpy as np

from input_pipeline.streets.camera import Sun, rotation
from input_pipeline.streets.rng import Random
from input_pipeline.streets.textures import rgb

Colour = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Weather:
    """The state of sky and sensor. Colours are linear light.

    Attributes:
      sun: direction of the light; straight down where the sky is overcast.
      sunlight, skylight: irradiance from the sun and from the whole sky.
      zenith, horizon: colours of the sky. cloud: of clouds.
      cover: 0 (no cloud) ... 1 (overcast).
      fog: extinction per metre; fog takes the horizon's colour.
      shadow: how much of the sun a shadow takes away.
      exposure, cast: gain of all and of each channel.
      noise: standard deviation of read noise, in units of white.
      blur: weight of a pixel's neighbours in the lens's blur.
      vignette: darkening of the corners.
      cloud_shift: moves the clouds.
    """

    sun: Sun
    sunlight: Colour
    skylight: Colour
    zenith: Colour
    horizon: Colour
    cloud: Colour
    cover: float
    fog: float
    shadow: float
    exposure: float
    cast: Colour
    noise: float
    blur: float
    vignette: float
    cloud_shift: tuple[float, float]


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = colour
    return factor * red, factor * green, factor * blue


def random_weather(random: Random) -> Weather:
    """Draws one of clear, cloudy, overcast, hazy and low-sun skies."""
    kind = random.choice(("clear", "cloudy", "overcast", "haze", "low sun"), (4, 4, 4, 2, 2))
    cos, sin = rotation(random.uniform(-1, 1) if random.chance(0.5) else random.uniform(-6, 6))
    reach = random.uniform(1.6, 3.2) if kind == "low sun" else random.uniform(0.3, 1.5)
    direction = (reach * sin, 1.0, reach * cos)
    sunlight, skylight = (2.6, 2.4, 2.1), (0.46, 0.55, 0.69)
    zenith, horizon, cloud = rgb(72, 122, 194), rgb(196, 214, 232), rgb(246, 246, 248)
    cover, fog, shadow = random.uniform(0.0, 0.35), random.uniform(0.0006, 0.003), 0.92
    if kind == "cloudy":
        cover = random.uniform(0.4, 0.75)
        sunlight = _scaled(sunlight, random.uniform(0.5, 1.0))
        horizon = rgb(210, 218, 226)
    elif kind == "overcast":
        direction = (0.05, 1.0, 0.08)
        tone = random.uniform(150, 232)
        zenith = horizon = cloud = rgb(tone - 4, tone, tone + 4)
        horizon = rgb(tone + 8, tone + 10, tone + 10)
        sunlight, skylight = (0.42, 0.43, 0.45), (1.05, 1.08, 1.12)
        cover, fog = random.uniform(0.7, 1.0), random.uniform(0.001, 0.006)
    elif kind == "haze":
        sunlight = _scaled(sunlight, 0.55)
        horizon = rgb(222, 220, 214)
        zenith = rgb(150, 172, 198)
        fog, shadow = random.uniform(0.006, 0.022), 0.75
    elif kind == "low sun":
        sunlight, skylight = (2.6, 1.8, 1.1), (0.42, 0.45, 0.58)
        horizon, zenith = rgb(244, 208, 160), rgb(98, 124, 172)
        cloud = rgb(250, 214, 180)
    warmth = random.uniform(-0.08, 0.08)
    return Weather(
        sun=Sun(np.array(direction)),
        sunlight=sunlight,
        skylight=skylight,
        zenith=zenith,
        horizon=horizon,
        cloud=cloud,
        cover=cover,
        fog=fog,
        shadow=shadow,
        exposure=random.uniform(0.5, 1.0),
        cast=(1 + warmth, 1.0, 1 - warmth),
        noise=random.uniform(0.002, 0.012),
        blur=random.uniform(0.0, 0.09),
        vignette=random.uniform(0.0, 0.3),
        cloud_shift=(random.uniform(0, 256), random.uniform(0, 256)),
    )

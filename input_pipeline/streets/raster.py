"""Which surface does every ray see? A z-buffer over λ, exact in float64.

Where a ray (x, y, 1) meets a plane, λ is linear in (x, y); where it meets a quadric, λ is a root of
a quadratic whose coefficients are polynomials in (x, y). So a solid costs a handful of array
operations over the part of the image that its bounding box covers, and no ray is ever formed.
Small solids of one shape are drawn together, as windows of one size.

Sources: homogeneous rasterisation (Olano and Greer, 1997); intersection of a ray with a convex
polyhedron as entering and leaving planes (Haines, 1991).
"""

import numpy as np

from input_pipeline.streets import noise
from input_pipeline.streets.camera import Grid
from input_pipeline.streets.solids import (
    BOTTOM,
    BOX,
    CARD,
    CYLINDER,
    ELLIPSOID,
    FACES,
    OUTLINES,
    TOP,
    Solids,
)

_TINY = 1e-12
_WINDOWS = (4, 8, 16, 32)  # sizes in which solids are drawn together


def draw(
    solids: Solids,
    chosen: np.ndarray,
    matrix: np.ndarray,
    bounds: np.ndarray,
    highest: np.ndarray,
    grid: Grid,
    nearest: np.ndarray,
    surface: np.ndarray,
) -> None:
    """Draws solids into a z-buffer.

    Args:
      solids: of the scene.
      chosen: indices of the solids to draw.
      matrix: [4, 4] of the camera; see `camera`.
      bounds: [N, 4] of the solids on the grid's plane; highest: [N], no λ of theirs is greater.
      grid: the samples, H × W.
      nearest: [H, W] float64 λ of what is seen so far; updated in place.
      surface: [H, W] int32 solid * FACES + face of it; updated in place.
    """
    local = _local(solids.to_local, matrix)
    forms = _Forms(solids, local)
    round_ = np.flatnonzero(solids.shape == ELLIPSOID)
    bounds = bounds.copy()
    bounds[round_] = _ellipse_bounds(forms.discriminant[round_], bounds[round_])
    window = _windows(bounds, grid)
    height, width = window[:, 1] - window[:, 0], window[:, 3] - window[:, 2]
    chosen = chosen[(height[chosen] > 0) & (width[chosen] > 0)]
    extent = np.maximum(height, width)
    large = extent[chosen] > _WINDOWS[-1]
    # Nearest first, so that most of what is hidden need not be drawn.
    for n in sorted(chosen[large].tolist(), key=lambda n: -highest[n]):
        top, bottom, left, right = window[n].tolist()
        if nearest[top:bottom, left:right].min() < highest[n]:
            _draw_group(forms, np.array([n]), window, bounds, 0, grid, nearest, surface)
    chosen = chosen[~large]
    for shape, outline in _kinds(solids, chosen):
        same = (solids.shape[chosen] == shape) & (solids.outline[chosen] == outline)
        members = chosen[same]
        least = 0
        for size in _WINDOWS:
            group = members[(extent[members] > least) & (extent[members] <= size)]
            if group.size:
                _draw_group(forms, group, window, bounds, size, grid, nearest, surface)
            least = size


def _kinds(solids: Solids, chosen: np.ndarray) -> list[tuple[int, int]]:
    """The (shape, outline) that occur."""
    return sorted(set(zip(solids.shape[chosen].tolist(), solids.outline[chosen].tolist())))


def _local(to_local: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """[N, 4, 4]: (x, y, 1, λ) to the solids' homogeneous frame units."""
    local = np.empty((len(to_local), 4, 4))
    local[:, :3] = to_local[:, :, 0, None] * matrix[0]
    for k in range(1, 4):
        local[:, :3] += to_local[:, :, k, None] * matrix[k]
    local[:, 3] = matrix[3]
    return local


class _Forms:
    """Coefficients of all solids in (x, y, 1, λ).

    With c·λ² + 2b·λ + a = 0 for a quadric Σ rows² = ω², b and a polynomials in (x, y, 1), the
    discriminant b² − a·c is a quadratic form in (x, y, 1).
    """

    def __init__(self, solids: Solids, local: np.ndarray):
        self.solids, self.local = solids, local
        square = -local[:, 3, :, None] * local[:, 3, None, :]
        for k in range(3):
            counts = (solids.shape == ELLIPSOID) | (k != 1)
            square = square + counts[:, None, None] * (local[:, k, :, None] * local[:, k, None, :])
        self.c = square[:, 3, 3]
        self.b = square[:, 3, :3]
        self.discriminant = (
            self.b[:, :, None] * self.b[:, None, :] - self.c[:, None, None] * square[:, :3, :3]
        )

    def planes(self, group: np.ndarray) -> np.ndarray:
        """[n, P, 4] of the faces of polyhedra."""
        planes, local = self.solids.planes[group], self.local[group]
        total = planes[:, :, 0, None] * local[:, None, 0]
        for k in range(1, 4):
            total = total + planes[:, :, k, None] * local[:, None, k]
        return total


def _ellipse_bounds(form: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Tightens boxes [n, 4] around the ellipses v·form·v > 0, where they are ellipses."""
    a, b, c = form[:, 0, 0], form[:, 0, 1], form[:, 0, 2]
    d, e, f = form[:, 1, 1], form[:, 1, 2], form[:, 2, 2]
    # The adjugate is the dual conic; lines x = const that touch it are its roots.
    xx, xw = d * f - e * e, b * e - c * d
    yy, yw = a * f - c * c, b * c - a * e
    ww = a * d - b * b
    in_x, in_y = xw * xw - xx * ww, yw * yw - yy * ww
    ellipse = (ww > 0) & (in_x > 0) & (in_y > 0)
    safe = np.where(ellipse, ww, 1.0)
    tight = bounds.copy()
    for axis, (middle, square) in enumerate(((xw / safe, in_x), (yw / safe, in_y))):
        reach = np.sqrt(np.where(ellipse, square, 0.0)) / safe * (1 + 1e-9)
        low, high = middle - reach, middle + reach
        tight[:, axis] = np.where(ellipse, np.maximum(low, bounds[:, axis]), bounds[:, axis])
        upper = bounds[:, axis + 2]
        tight[:, axis + 2] = np.where(ellipse, np.minimum(high, upper), upper)
    return tight


def _windows(bounds: np.ndarray, grid: Grid) -> np.ndarray:
    """[N, 4]: first row, row after the last, first column, column after the last."""
    low_x = np.clip(np.ceil((bounds[:, 0] - grid.x0) / grid.dx), 0, grid.columns)
    high_x = np.clip(np.floor((bounds[:, 2] - grid.x0) / grid.dx), -1, grid.columns - 1) + 1
    low_y = np.clip(np.ceil((bounds[:, 1] - grid.y0) / grid.dy), 0, grid.rows)
    high_y = np.clip(np.floor((bounds[:, 3] - grid.y0) / grid.dy), -1, grid.rows - 1) + 1
    return np.stack([low_y, high_y, low_x, high_x], 1).astype(np.int64)


def _draw_group(forms: _Forms, group, window, bounds, size, grid: Grid, nearest, surface) -> None:
    """Draws one solid, or several of one shape, each in a window of `size` rows and columns."""
    top, bottom, left, right = window[group].T
    alone = len(group) == 1
    rows = top[:, None] + np.arange(bottom[0] - top[0] if alone else size)
    columns = left[:, None] + np.arange(right[0] - left[0] if alone else size)
    x, y = grid.x0 + grid.dx * columns, grid.y0 + grid.dy * rows
    shape = forms.solids.shape[group[0]]
    if shape == BOX:
        value, face, hit = _polyhedra(forms, group, x, y)
    elif shape == CARD:
        value, face, hit = _cards(forms, group, x, y)
    elif shape == CYLINDER:
        value, face, hit = _cylinders(forms, group, x, y)
    else:
        value, face, hit = _ellipsoids(forms, group, x, y, bounds[group])
    if alone:
        place = (slice(top[0], bottom[0]), slice(left[0], right[0]))
        hit = hit[0] & (value[0] > nearest[place])
        np.copyto(nearest[place], value[0], where=hit)
        face = face if np.isscalar(face) else face[0]
        np.copyto(surface[place], np.add(np.int32(group[0] * FACES), face), where=hit)
        return
    hit &= (rows < bottom[:, None])[:, :, None] & (columns < right[:, None])[:, None, :]
    who, i, j = np.nonzero(hit)
    value = value[who, i, j]
    place = rows[who, i] * grid.columns + columns[who, j]
    code = group[who] * FACES + (face if np.isscalar(face) else face[who, i, j])
    np.maximum.at(nearest.ravel(), place, value)
    seen = nearest.ravel()[place] == value
    surface.ravel()[place[seen]] = code[seen]


def _linear(coefficients, x, y) -> np.ndarray:
    """a·x + b·y + c on windows: [n, h, w] of coefficients [n, 3]."""
    a, b, c = coefficients[:, 0, None], coefficients[:, 1, None], coefficients[:, 2, None]
    return (a * x + c)[:, None, :] + (b * y)[:, :, None]


def _away_from_zero(weight: np.ndarray) -> np.ndarray:
    return np.where(np.abs(weight) < _TINY, -_TINY, weight)


def _polyhedra(forms: _Forms, group, x, y):
    planes = forms.planes(group)
    weight = _away_from_zero(planes[:, :, 3])
    lines = -planes[:, :, :3] / weight[:, :, None]
    facing = weight > 0
    enter = np.full((len(group), y.shape[1], x.shape[1]), np.inf)
    leave = np.zeros(enter.shape)
    face = np.zeros(enter.shape, np.int32)
    for k in range(int(forms.solids.plane_count[group].max())):
        line = _linear(lines[:, k], x, y)
        towards = facing[:, k]
        if towards.all():
            np.copyto(face, k, where=line < enter)
            np.minimum(enter, line, out=enter)
        elif not towards.any():
            np.maximum(leave, line, out=leave)
        else:
            towards = towards[:, None, None]
            np.copyto(face, k, where=towards & (line < enter))
            np.minimum(enter, line, out=enter, where=towards)
            np.maximum(leave, line, out=leave, where=~towards)
    # Where no plane faces the camera, it is inside.
    return enter, face, (enter > leave) & (enter < np.inf)


def _cards(forms: _Forms, group, x, y):
    u_form, v_form, plane, omega = forms.local[group].transpose(1, 0, 2)
    weight = _away_from_zero(plane[:, 3])[:, None]
    value = _linear(-plane[:, :3] / weight, x, y)
    u, v, w = (
        _linear(form[:, :3], x, y) + form[:, 3, None, None] * value
        for form in (u_form, v_form, omega)
    )
    paints = [forms.solids.items[n].paint.numbers for n in group.tolist()]
    outline = OUTLINES[forms.solids.outline[group[0]]]
    if outline in ("disc", "ring"):
        radius2 = u * u + v * v
        inside = radius2 <= w * w
        if outline == "ring":
            inner = np.array([numbers[0] for numbers in paints])[:, None, None] * w
            inside &= radius2 >= inner * inner
    elif outline == "triangle":
        inside = (v >= -w) & (2 * np.abs(u) <= w - v)
    else:
        inside = (np.abs(u) <= w) & (np.abs(v) <= w)
        if outline == "pickets":
            half = forms.solids.half[group, 0]
            period, share, closed = np.array([numbers[:3] for numbers in paints]).T[..., None, None]
            inside &= _pickets(u, v, w, half[:, None, None] / period, share, closed)
    return value, 0, inside & (value > 0)


def _pickets(u, v, w, count, share, closed):
    """Bars with gaps, and two rails; no gaps where λ < closed, too far away to resolve them."""
    along = u / np.where(w > 0, w, 1.0) * count
    bars = along - np.floor(along) < share
    height = np.abs(v)
    rails = (height > 0.66 * w) & (height < 0.82 * w)
    return bars | rails | (w < closed)


def _quadrics(forms: _Forms, group, x, y):
    """Discriminant, its root, −b and c of quadrics on windows."""
    form = forms.discriminant[group][..., None]
    columns = (form[:, 0, 0] * x + 2 * form[:, 0, 2]) * x + form[:, 2, 2]
    lines = (form[:, 1, 1] * y + 2 * form[:, 1, 2]) * y
    discriminant = (2 * form[:, 0, 1] * y)[:, :, None] * x[:, None, :]
    discriminant += columns[:, None, :]
    discriminant += lines[:, :, None]
    root = np.sqrt(np.maximum(discriminant, 0.0))
    c = forms.c[group]
    outside = (c > _TINY)[:, None, None]
    c = np.where(c > _TINY, c, 1.0)[:, None, None]
    return discriminant, root, _linear(-forms.b[group], x, y), c, outside


def _ellipsoids(forms: _Forms, group, x, y, bounds):
    discriminant, root, minus_b, c, outside = _quadrics(forms, group, x, y)
    value = (root + minus_b) / c
    hit = (discriminant > 0) & (value > 0) & outside
    if forms.solids.ragged[group].any():
        hit &= discriminant > _frayed(forms, group, x, y, bounds)
    return value, 0, hit


def _frayed(forms: _Forms, group, x, y, bounds):
    """What a discriminant must exceed for the ray to meet leaves.

    The discriminant falls from its peak in the middle to 0 at the smooth outline. The pattern is
    anchored to the bounding box and 64 cells wide: the same leaves at every resolution.
    """
    middle_x, middle_y = (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2
    scale = 128.0 / (bounds[:, 2] - bounds[:, 0] + bounds[:, 3] - bounds[:, 1])
    start = forms.solids.pattern[group]
    i = np.floor((y - middle_y[:, None]) * scale[:, None]).astype(np.int64) + start[:, 0, None]
    j = np.floor((x - middle_x[:, None]) * scale[:, None]).astype(np.int64) + start[:, 1, None]
    wrap = noise.SIZE - 1
    pattern = noise.tiles()["fray"][(i & wrap)[:, :, None], (j & wrap)[:, None, :]]
    form = forms.discriminant[group]
    peak = (
        (form[:, 0, 0] * middle_x + 2 * (form[:, 0, 1] * middle_y + form[:, 0, 2])) * middle_x
        + (form[:, 1, 1] * middle_y + 2 * form[:, 1, 2]) * middle_y
        + form[:, 2, 2]
    )
    return (forms.solids.ragged[group] * peak)[:, None, None] * pattern


def _cylinders(forms: _Forms, group, x, y):
    discriminant, root, minus_b, c, outside = _quadrics(forms, group, x, y)
    enter, leave = (minus_b + root) / c, (minus_b - root) / c
    face = np.zeros(enter.shape, np.int32)
    local = forms.local[group]
    for k, form in ((BOTTOM, -local[:, 1] - local[:, 3]), (TOP, local[:, 1] - local[:, 3])):
        weight = _away_from_zero(form[:, 3])
        line = _linear(-form[:, :3] / weight[:, None], x, y)
        towards = (weight > 0)[:, None, None]
        face[towards & (line < enter)] = k
        np.minimum(enter, line, out=enter, where=towards)
        np.maximum(leave, line, out=leave, where=~towards)
    return enter, face, (discriminant > 0) & outside & (enter >= leave) & (enter > 0)

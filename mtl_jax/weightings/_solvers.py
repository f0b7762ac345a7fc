"""Small convex problems on a Gram matrix, solved in float32 under `jax.jit`.

Every solver takes a Gram matrix [K, K] in which the tasks that do not count have rows and columns
of 0, returns 0 for these, and the residual of its own optimality conditions. What is not finite
makes the result NaN. The matrices are scaled before they are solved, never compared with an
absolute number: gradients of 10⁻⁴ and of 10⁴ have the same solution up to their scale.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

EPSILON = float(jnp.finfo(jnp.float32).eps)

# What rounding makes of an eigenvalue that is 0, for each of K tasks, of a matrix of cosines. Of
# dependent gradients of 30 to 10⁷ numbers up to 2 ε were found.
_EIGENVALUE_ROUNDING = 8 * EPSILON


def counted(gram: jax.Array) -> jax.Array:
    """[K] bool: the tasks to solve for, whose gradient is not 0; one that is NaN counts."""
    return jnp.diag(gram) != 0


def lengths(gram: jax.Array) -> jax.Array:
    """[K]: d_k = |g_k|, and 1 for a task that does not count."""
    squares = jnp.diag(gram)
    return jnp.sqrt(jnp.where(squares != 0, squares, 1.0))


def cosines(gram: jax.Array) -> jax.Array:
    """[K, K]: C = D⁻¹ M D⁻¹, with 1 on the diagonal; the unit matrix for what does not count."""
    d = lengths(gram)
    scaled = gram / d[:, None] / d[None, :]
    # x / x is 1, or NaN.
    diagonal = jnp.diag(gram)
    ones = jnp.where(diagonal != 0, diagonal / diagonal, 1.0)
    return jnp.where(jnp.eye(len(gram), dtype=bool), ones[:, None], scaled)


def times(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """Matrix times vector in full float32, which `@` is not everywhere."""
    return jnp.sum(matrix * vector, axis=-1)


def solve_positive(matrix: jax.Array, *sides: jax.Array) -> list[jax.Array]:
    """Solutions of A x = b for each b, by Cholesky's method written out for a small K.

    Args:
      matrix: [K, K], symmetric and positive definite.
      sides: each [K].
    """
    count = len(matrix)
    rest, columns = matrix, []
    for k in range(count):
        column = jnp.where(jnp.arange(count) >= k, rest[:, k], 0.0) / jnp.sqrt(rest[k, k])
        columns.append(column)
        rest = rest - column[:, None] * column[None, :]
    lower = jnp.stack(columns, axis=1)
    found = []
    for side in sides:
        x = jnp.zeros_like(side)
        for k in range(count):
            x = x.at[k].set((side[k] - jnp.sum(lower[k] * x)) / lower[k, k])
        y = jnp.zeros_like(side)
        for k in reversed(range(count)):
            y = y.at[k].set((x[k] - jnp.sum(lower[:, k] * y)) / lower[k, k])
        found.append(y)
    return found


def power(
    gram: jax.Array, preference: jax.Array, alpha: float, steps: int = 20
) -> tuple[jax.Array, jax.Array]:
    """w > 0 with M w = (p / w)^(1/α), by damped Newton steps on a convex function.

    With w = s x / d it is C x = (q / x)^(1/α), q_k = p_k d_k^(1−α) over its geometric mean, which
    the minimum of ½ xᵀCx − Σ φ(x) solves, φ'(x) = (q / x)^(1/α). A little is added to the diagonal
    of C, so that exactly opposed gradients have a finite solution.

    Args:
      gram: [K, K], M.
      preference: [K], p > 0.
      alpha: α > 0.
      steps: at most so many Newton steps.

    Returns:
      w [K], and max |(C x)(x / q)^(1/α) − 1| without what was added.
    """
    counts, d, cos = counted(gram), lengths(gram), cosines(gram)
    matrix = cos + 2 * EPSILON * jnp.eye(len(gram))
    log_q = jnp.where(counts, jnp.log(preference) + (1 - alpha) * jnp.log(d), 0.0)
    mean = jnp.sum(log_q) / jnp.maximum(jnp.sum(counts), 1)
    log_q = jnp.where(counts, log_q - mean, 0.0)

    def slope(x):
        return jnp.exp((log_q - jnp.log(x)) / alpha)

    def objective(x):
        if alpha == 1:
            gain = jnp.exp(log_q) * jnp.log(x)
        else:
            gain = slope(x) * x * alpha / (alpha - 1)
        return jnp.sum(x * times(matrix, x)) / 2 - jnp.sum(gain)

    def newton(carry):
        x, step, _ = carry
        downhill = slope(x) - times(matrix, x)
        hessian = matrix + jnp.diag(slope(x) / x / alpha)
        (move,) = solve_positive(hessian, downhill)
        # As far as 0.95 of the way to the boundary, then halved; all halvings at once.
        longest = jnp.min(jnp.where(move < 0, -0.95 * x / jnp.where(move < 0, move, -1.0), 1.0))
        trials = jnp.minimum(longest, 1.0) * 0.5 ** jnp.arange(12.0)
        values = jax.vmap(lambda t: objective(x + t * move))(trials)
        now, promised = objective(x), jnp.sum(move * downhill)
        rounding = 4 * EPSILON * jnp.abs(now)
        enough = values <= now - 1e-4 * trials * promised + rounding
        best = jnp.where(jnp.any(enough), jnp.argmax(enough), len(trials) - 1)
        # Of nearly dependent gradients rounding can take the Hessian's last pivot below 0.
        (new,), good = _if_finite([x + trials[best] * move], [x])
        return new, step + 1, jnp.where(good, jnp.max(jnp.abs(move) / x), 0.0)

    def goes_on(carry):
        _, step, change = carry
        return (step < steps) & (change > EPSILON)

    start = jnp.exp(log_q / (1 + alpha)), 0, jnp.float32(jnp.inf)
    x, _, _ = jax.lax.while_loop(goes_on, newton, start)
    residual = jnp.max(jnp.where(counts, jnp.abs(times(cos, x) / slope(x) - 1), 0.0))
    return jnp.where(counts, jnp.exp(mean / (1 + alpha)) * x / d, 0.0), residual


def simplex(
    gram: jax.Array,
    gradient: Callable[[jax.Array], jax.Array],
    hessian: Callable[[jax.Array], jax.Array],
    steps: int = 40,
) -> tuple[jax.Array, jax.Array]:
    """The w ≥ 0 with Σ w = 1 at which a convex function is least, by Mehrotra's interior steps.

    Steps are halved until they bring the optimality conditions nearer: Newton's whole ones may go
    to and fro for ever where ∇²f changes fast, as CAGrad's does near gradients that cancel.

    Args:
      gram: [K, K], of which only the tasks that count are read.
      gradient, hessian: of the function, [K] ─► [K] and [K, K]; of order 1 near the solution.
      steps: at most so many.

    Returns:
      w [K], and the larger of (w·∇f − min ∇f) / max(|w·∇f|, w·|∇²f|w) and −min w.
    """
    counts = counted(gram)
    count = jnp.maximum(jnp.sum(counts), 1)
    ones = counts.astype(jnp.float32)
    unit = jnp.diag(1.0 - ones)

    def error(w, z, level):
        dual = jnp.where(counts, gradient(w) - level - z, 0.0)
        return jnp.max(jnp.abs(dual)) + jnp.sum(jnp.where(counts, w * z, 0.0))

    def newton(carry):
        w, z, level, step, _ = carry
        ratio = jnp.where(counts, z / jnp.where(counts, w, 1.0), 0.0)
        curved = jnp.where(counts[:, None] & counts[None, :], hessian(w), 0.0)
        matrix = curved + jnp.diag(ratio + 4 * EPSILON * jnp.diag(curved)) + unit
        dual = jnp.where(counts, gradient(w) - level - z, 0.0)
        gap = jnp.sum(jnp.where(counts, w * z, 0.0)) / count

        def direction(target):
            """Newton's step to w z = target."""
            side = jnp.where(counts, -dual + target / jnp.where(counts, w, 1.0) - z, 0.0)
            by_one, by_side = solve_positive(matrix, ones, side)
            missing = 1.0 - jnp.sum(w)
            move_level = (missing - jnp.sum(by_side)) / jnp.sum(by_one)
            move = jnp.where(counts, by_side + move_level * by_one, 0.0)
            move_z = jnp.where(counts, target / jnp.where(counts, w, 1.0) - z - ratio * move, 0.0)
            return move, move_z, move_level

        first, first_z, _ = direction(jnp.zeros_like(w))
        far, far_z = _longest(w, first, counts), _longest(z, first_z, counts)
        left = jnp.sum(jnp.where(counts, (w + far * first) * (z + far_z * first_z), 0.0)) / count
        centre = jnp.power(left / gap, 3) * gap
        move, move_z, move_level = direction(centre - first * first_z)
        far = 0.99 * jnp.minimum(_longest(w, move, counts), _longest(z, move_z, counts))
        trials = far * 0.5 ** jnp.arange(6.0)
        errors = jax.vmap(lambda t: error(w + t * move, z + t * move_z, level + t * move_level))(
            trials
        )
        # Where none is enough, rounding is all that is left, and the whole step is taken.
        far = trials[jnp.argmax(errors <= (1 - 0.01 * trials) * error(w, z, level))]
        new = w + far * move, z + far * move_z, level + far * move_level
        (w, z, level), good = _if_finite(new, (w, z, level))
        relative = gap / jnp.sum(w * jnp.abs(gradient(w)))
        return w, z, level, step + 1, jnp.where(good, relative, 0.0)

    def goes_on(carry):
        *_, step, gap = carry
        return (step < steps) & (gap > EPSILON / 4)

    start = *_within_simplex(gram, gradient), 0, jnp.float32(jnp.inf)
    w, *_ = jax.lax.while_loop(goes_on, newton, start)
    w = w + 0.0 * jnp.trace(gram)  # NaN, if that is
    return w, _residual_on_simplex(w, gradient(w), hessian(w), counts)


def _within_simplex(gram, gradient) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where `simplex` starts: w > 0, z > ∇f − λ and λ, the level of ∇f; as (w, z, λ)."""
    counts = counted(gram)
    w = counts / lengths(gram)
    w = w / jnp.maximum(jnp.sum(w), 1e-30)
    slopes = gradient(w)
    level = jnp.min(jnp.where(counts, slopes, jnp.inf))
    level = jnp.where(jnp.any(counts), level, 0.0)
    z = jnp.where(counts, slopes - level + jnp.mean(jnp.abs(slopes)) + EPSILON, 0.0)
    return w, z, level


def _residual_on_simplex(w, slopes, curved, counts) -> jax.Array:
    """See `simplex`, of a function whose ∇f and ∇²f at w are `slopes` and `curved`."""
    mean = jnp.sum(w * slopes)
    least = jnp.min(jnp.where(counts, slopes, jnp.inf))
    # Terms that cancel leave rounding errors of their own size.
    size = jnp.maximum(jnp.abs(mean), jnp.sum(w * times(jnp.abs(curved), w)))
    residual = (mean - least) / jnp.where(size != 0, size, 1.0)
    return jnp.where(jnp.any(counts), jnp.maximum(residual, -jnp.min(w)), 0.0)


def cone(gram: jax.Array, least: jax.Array, steps: int = 20) -> tuple[jax.Array, jax.Array]:
    """The v ≥ u at which vᵀMv is least, by Mehrotra's interior steps: v = u + s, s ≥ 0.

    Σ v_k g_k is then the projection of Σ u_k g_k onto the cone of directions that no task's loss
    ascends along. A little is added to the diagonal of C: of dependent gradients a combination
    cancels, by which v could grow for ever.

    Args:
      gram: [K, K], M.
      least: [K], u ≥ 0.
      steps: at most so many.

    Returns:
      v [K], and the largest of u − v, −M v and |(v − u) (M v)|, in gradients of unit length and
      relative to the length of D u, without what was added.
    """
    counts, d, cos = counted(gram), lengths(gram), cosines(gram)
    low = jnp.where(counts, least * d, 0.0)
    size = jnp.sqrt(jnp.sum(low * low))
    size = jnp.where(size != 0, size, 1.0)
    low = low / size
    count = jnp.maximum(jnp.sum(counts), 1)
    shifted = cos + 4 * EPSILON * jnp.eye(len(gram))

    def newton(carry):
        s, z, step, _ = carry
        ratio = jnp.where(counts, z / jnp.where(counts, s, 1.0), 0.0)
        matrix = shifted + jnp.diag(ratio)
        dual = jnp.where(counts, times(shifted, low + s) - z, 0.0)
        gap = jnp.sum(s * z) / count

        def direction(target):
            """Newton's step to s z = target."""
            per = target / jnp.where(counts, s, 1.0) - z
            (move,) = solve_positive(matrix, jnp.where(counts, per - dual, 0.0))
            return move, jnp.where(counts, per - ratio * move, 0.0)

        first, first_z = direction(jnp.zeros_like(s))
        far = jnp.minimum(_longest(s, first, counts), _longest(z, first_z, counts))
        left = jnp.sum((s + far * first) * (z + far * first_z)) / count
        move, move_z = direction(jnp.power(left / gap, 3) * gap - first * first_z)
        far = 0.99 * jnp.minimum(_longest(s, move, counts), _longest(z, move_z, counts))
        (s, z), good = _if_finite((s + far * move, z + far * move_z), (s, z))
        error = jnp.maximum(gap, jnp.max(jnp.abs(dual)))
        return s, z, step + 1, jnp.where(good, error, 0.0)

    def goes_on(carry):
        *_, step, error = carry
        return (step < steps) & (error > EPSILON / 4)

    ones = counts.astype(jnp.float32)
    start = ones, ones * (1 + jnp.abs(times(cos, low))), 0, jnp.float32(jnp.inf)
    s, *_ = jax.lax.while_loop(goes_on, newton, start)
    s = s + 0.0 * jnp.trace(gram)  # NaN, if that is
    slopes = jnp.where(counts, times(cos, low + s), 0.0)
    residual = jnp.max(jnp.maximum(-slopes, jnp.abs(s * slopes)))
    return jnp.where(counts, (low + s) * size / d, 0.0), residual


def shortest(gram: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The weights [K] of the simplex at which wᵀMw is least, and their residual."""
    trace = jnp.trace(gram)
    matrix = gram / jnp.where(trace != 0, trace, 1.0)
    return simplex(gram, lambda w: times(matrix, w), lambda _: matrix)


def regularised(gram: jax.Array, share: float) -> jax.Array:
    """M with `share` of its trace added to the diagonal of the tasks that count."""
    return gram + jnp.diag(jnp.where(counted(gram), share * jnp.trace(gram), 0.0))


def eigen(gram: jax.Array, sweeps: int = 10) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues [K], ascending, those that are 0 as such, and eigenvectors [K, K] as columns.

    By Jacobi's rotations, which find small eigenvalues of a badly scaled Gram matrix as exactly as
    large ones, where other methods lose every gradient shorter than 6·10⁻⁴ of the longest in
    float32. How many are not 0 is read from the cosines: the rank is not to depend on lengths.
    """
    count = len(gram)

    def rotate(carry, pair):
        matrix, vectors = carry
        p, q = pair
        off = matrix[p, q]
        slope = (matrix[q, q] - matrix[p, p]) / jnp.where(off != 0, 2 * off, 1.0)
        sign = jnp.where(slope < 0, -1.0, 1.0)
        tangent = sign / (jnp.abs(slope) + jnp.hypot(slope, 1.0))
        tangent = jnp.where(off != 0, tangent, 0.0)
        cos = jax.lax.rsqrt(1 + tangent**2)
        sin = tangent * cos

        def turn(columns):
            first, second = columns[:, p], columns[:, q]
            columns = columns.at[:, p].set(cos * first - sin * second)
            return columns.at[:, q].set(sin * first + cos * second)

        pp, qq = matrix[p, p] - tangent * off, matrix[q, q] + tangent * off
        matrix = turn(turn(matrix).T)
        # The exact results, which rounding would leave a little beside.
        matrix = matrix.at[p, p].set(pp).at[q, q].set(qq).at[p, q].set(0.0).at[q, p].set(0.0)
        return (matrix, turn(vectors)), None

    upper = jnp.array([(p, q) for p in range(count) for q in range(p + 1, count)], jnp.int32)
    turned = gram, jnp.eye(count, dtype=gram.dtype)
    if count > 1:
        turned, _ = jax.lax.scan(rotate, turned, jnp.tile(upper, (sweeps, 1)))
    order = jnp.argsort(jnp.diag(turned[0]))
    values, vectors = jnp.diag(turned[0])[order], turned[1][:, order]
    counts = counted(gram)
    of_cosines = jnp.linalg.eigvalsh(cosines(gram))
    rank = jnp.sum(of_cosines > count * _EIGENVALUE_ROUNDING) - jnp.sum(~counts)
    return jnp.where(jnp.arange(count) >= count - rank, values, 0.0), vectors


def inverse(cos: jax.Array, side: jax.Array) -> jax.Array:
    """C⁺ b [K] of a symmetric matrix: eigenvalues below 8 K ε λ_max count as 0."""
    values, vectors = jnp.linalg.eigh(cos)
    kept = values > len(cos) * _EIGENVALUE_ROUNDING * jnp.max(jnp.abs(values))
    shares = times(vectors.T, side) / jnp.where(kept, values, 1.0)
    # What is NaN is not above anything, and is to be seen.
    shares = jnp.where(kept | jnp.isnan(values), shares, 0.0)
    return times(vectors, shares)


def _longest(x, move, counts):
    """The longest step in (0, 1] that keeps x ≥ 0."""
    shrinks = counts & (move < 0)
    return jnp.min(jnp.where(shrinks, -x / jnp.where(shrinks, move, -1.0), 1.0), initial=1.0)


def _if_finite(new, old):
    """`new`, or `old` if a number of `new` is not finite; and whether it is `new`.

    Where rounding is all that is left, the next step may be no number: the last one stands.
    """
    good = jnp.isfinite(sum(jnp.sum(value) for value in new))
    return [jnp.where(good, *both) for both in zip(new, old, strict=True)], good

"""Philox4x64-10 (Salmon et al. 2011), for few numbers: those of `np.random.Philox`, without it.

Making a bit generator of NumPy's takes ten times as long as the nine numbers of an example.
"""

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # added to the key from round to round
_ROUNDS, _BITS = 10, 64
_MASK = (1 << _BITS) - 1


def raw(key: tuple[int, int], counter: int, count: int) -> list[int]:
    """`np.random.Philox(key=key, counter=counter).random_raw(count)`.

    Args:
      key: two numbers of 64 bits.
      counter: of 256 bits; numbers begin with the block after it.
      count: how many.
    """
    found: list[int] = []
    while len(found) < count:
        counter += 1
        found += _block(key, counter)
    return found[:count]


def _block(key: tuple[int, int], counter: int) -> tuple[int, int, int, int]:
    """The four numbers of one value of the counter."""
    a, b, c, d = (counter >> shift & _MASK for shift in (0, _BITS, 2 * _BITS, 3 * _BITS))
    first, second = map(int, key)  # not of NumPy, whose numbers overflow
    for _ in range(_ROUNDS):
        one, two = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
        a, b = two >> _BITS ^ b ^ first, two & _MASK
        c, d = one >> _BITS ^ d ^ second, one & _MASK
        first, second = first + _WEYL[0] & _MASK, second + _WEYL[1] & _MASK
    return a, b, c, d

"""Which rows say that lanes can serve the demand, without a variable for who is served where.

By max-flow and min-cut the classes of one part can be served up to u unserved if and only if for every set S of them
the lanes that reach S carry what S demands:

    sum over kinds j that reach S of min(mu_j, demand of S that j reaches) x_j + u(S) >= demand(S).

It is enough to look at the complements of unions of the kinds' class sets. The minimum in the coefficient is valid
since x_j is whole, and makes the rows tight.
"""

from __future__ import annotations

from optimizer.instance import Instance, Part, Row

ROWS_MAX = 600  # a part; nested requirements give tens, and only a hostile catalogue gives 2 ** classes


def hall_rows(instance: Instance, p: int) -> tuple[list[Row], bool]:
    """The rows of part `p`, and whether they are all; made once an instance.

    Where they are not, each row still holds, but flows are needed to say the rest.
    """
    if p not in instance.rows:
        instance.rows[p] = _rows(instance, instance.parts[p])
    return instance.rows[p]


def _rows(instance: Instance, part: Part) -> tuple[list[Row], bool]:
    sets = sorted({instance.mask[j] for j in part.kinds})
    unions = {0}
    complete = True
    for mask in sets:
        unions |= {union | mask for union in unions}
        if len(unions) > ROWS_MAX:
            complete = False
            unions = {0, *sets}
            break
    wanted = {part.full & ~union for union in unions} | {1 << i for i in range(len(part.demand))}
    return [_row(instance, part, mask) for mask in sorted(wanted - {0})], complete


def _row(instance: Instance, part: Part, wanted: int) -> Row:
    kinds, coefficients = [], []
    reachable: dict[int, int] = {}
    for j in part.kinds:
        common = instance.mask[j] & wanted
        if not common:
            continue
        if common not in reachable:
            reachable[common] = part.demand_of(common)
        kinds.append(j)
        coefficients.append(min(int(instance.capacity[j]), reachable[common]))
    return Row(
        kinds=tuple(kinds),
        coefficients=tuple(coefficients),
        classes=tuple(i for i in range(len(part.demand)) if wanted >> i & 1),
        demand=part.demand_of(wanted),
    )

"""How many pairs a question needs, and what a number of pairs can answer.

`discordance` is the share of prompts on which the two arms differ, (b + c)/n. It is not known
before the answers are there, and the more of it there is, the more pairs are needed.

Sources: Nam (1997), Biometrics 53:1422-1430 and Tango (1998), Statistics in Medicine 17:891-908,
for non-inferiority; Miettinen (1968), Biometrics 24:339-352 and Connor (1987), Biometrics
43:207-211, for a paired difference.
"""

from __future__ import annotations

import math

from holdfast.core.errors import UsageError
from holdfast.stats.normal import bisect, quantile, require_between
from holdfast.stats.paired import score_variance


def pairs_needed(
    margin: float,
    discordance: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    worsening: float = 0.0,
) -> int:
    """Pairs that show non-inferiority at `margin` with `power`, if the truth is `worsening`.

    n = ((z_alpha sqrt(v0) + z_power sqrt(v1)) / (margin - worsening))², with v1 = discordance -
    worsening² the true variance of one pair's difference and v0 its limit under H0 (Nam 1997), and
    never fewer than log(alpha)/log(1 - margin): with fewer, a share `margin` of flipped prompts may
    well go unseen (`binomial.concentrated`).
    Raises `UsageError` for a margin or a discordance that the others rule out.
    """
    _check(alpha, power, discordance)
    require_between("margin", margin)
    if not abs(worsening) <= discordance:
        raise UsageError(
            "worsening", got=str(worsening), expected=f"at most the discordance, {discordance}"
        )
    if worsening >= margin:
        raise UsageError(
            "worsening", got=str(worsening), expected=f"less than the margin, {margin}"
        )
    gain, loss = (discordance + worsening) / 2.0, (discordance - worsening) / 2.0
    null = score_variance(gain, loss, 1.0, margin)
    true = discordance - worsening * worsening
    root = quantile(1.0 - alpha) * math.sqrt(null) + quantile(power) * math.sqrt(true)
    least = math.log(alpha) / math.log1p(-margin)
    return math.ceil(max((root / (margin - worsening)) ** 2, least))


def minimum_detectable(
    n: int, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest worsening that `n` pairs show with `power` in a one-sided McNemar test at `alpha`.

    The d that solves n = ((z_alpha sqrt(w) + z_power sqrt(w - d²)) / d)² (Connor 1987) with
    w = max(discordance, d): a worsening of d makes at least d discordant. In (0, 1]; 1 where no
    worsening can be shown.
    """
    _check(alpha, power, discordance)
    if n < 1:
        raise UsageError("pairs", got=str(n), expected="at least 1")
    z_alpha, z_power = quantile(1.0 - alpha), quantile(power)

    def shortfall(d: float) -> float:
        w = max(discordance, d)
        needed = z_alpha * math.sqrt(w) + z_power * math.sqrt(max(w - d * d, 0.0))
        return needed - d * math.sqrt(n)

    # At d = 0 both sides vanish when nothing is discordant: that root is not the one wanted.
    return bisect(shortfall, 1e-12, 1.0)


def _check(alpha: float, power: float, discordance: float) -> None:
    require_between("alpha", alpha, 0.0, 0.5)
    require_between("power", power)
    if not 0.0 <= discordance <= 1.0:
        raise UsageError("discordance", got=str(discordance), expected="a share in [0, 1]")

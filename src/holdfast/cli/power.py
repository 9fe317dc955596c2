"""`holdfast power`: how many prompts a margin needs, before any model is asked."""

from __future__ import annotations

import json

import click


@click.command("power")
@click.option("--margin", type=float, default=0.05, show_default=True, help="Worsening accepted.")
@click.option(
    "--discordance",
    type=float,
    default=0.1,
    show_default=True,
    help="Share of prompts on which the two arms are expected to differ.",
)
@click.option("--alpha", type=float, default=0.05, show_default=True, help="One-sided level.")
@click.option("--power", type=float, default=0.8, show_default=True, help="Chance of success.")
@click.option(
    "--family",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Blocking metrics tested together; each is planned at alpha/family, Holm's first step.",
)
@click.option("--pairs", type=click.IntRange(min=1), help="Prompts that you have, per metric.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    margin: float,
    discordance: float,
    alpha: float,
    power: float,
    family: int,
    pairs: int | None,
    as_json: bool,
) -> None:
    """Plan how many prompts a margin needs.

    Answers two questions: how many prompts show that a fine-tune which has not changed for the
    worse is inside the margin, and (with --pairs) how small a worsening that many prompts detect.
    Several answers to a prompt are no further prompts: they lower the discordance, never the count.
    An audit of a judge needs as many audited prompts as there are prompts at discordance 0.
    """
    from holdfast.stats.power import minimum_detectable, pairs_needed
    from holdfast.stats.sequential import prompts_needed

    level = alpha / family
    looking = prompts_needed(margin, discordance, alpha=level, power=power)
    needed = pairs_needed(margin, discordance, alpha=level, power=power)
    given = pairs or needed
    smallest = minimum_detectable(given, discordance, alpha=level, power=power)
    if as_json:
        facts = {
            "margin": margin, "discordance": discordance, "alpha": alpha, "family": family,
            "power": power, "pairs_needed": needed, "pairs": given, "minimum_detectable": smallest,
            "pairs_needed_with_looks": looking,
        }  # fmt: skip
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(
        f"{needed} prompts show non-inferiority at a margin of {100 * margin:.1f} points with "
        f"{100 * power:.0f} % power, if {100 * discordance:.0f} % of answers differ and as many "
        "got better as got worse."
    )
    click.echo(f"At most about {looking} with --looks, which may stop earlier.")
    click.echo(f"{given} prompts detect a worsening of {100 * smallest:.1f} points or more.")
    if pairs and pairs < needed:
        click.echo(f"With {pairs} prompts the verdict is likely to be INCONCLUSIVE.")

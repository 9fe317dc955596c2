"""`holdfast sae`: sparse autoencoders — train, check, compare models by their latents, edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.core.errors import UsageError

if TYPE_CHECKING:
    from holdfast.geometry.sae.edit import LatentEdit
    from holdfast.geometry.sae.records import SaeDiff, SaeFidelity

_FILE = click.Path(path_type=Path)
_DATA = click.option(
    "--data", default="harbor", show_default=True,
    help="JSON Lines with conversations or 'text', or 'harbor' for its corpus.",
)  # fmt: skip
_SITE = click.option("--site", default="", help="resid_post.L, where the SAE does not say it.")
_BATCH = click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
_DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
_SEED = click.option("--seed", default=0, show_default=True, help="Seed of every draw.")


@click.group("sae")
def command() -> None:
    """Read a model through a sparse autoencoder (SAELens, Gemma Scope, dictionary_learning)."""


@command.command("train")
@click.argument("model")
@click.option("--site", required=True, help="Where: resid_post.L, the output of block L.")
@_DATA
@click.option("--out", required=True, type=_FILE, help="Folder for the SAE.")
@click.option("--rows", default=4000, show_default=True, help="Rows of text to read at most.")
@click.option("--latents", default=1024, show_default=True, help="Size of the dictionary.")
@click.option("-k", "active", default=16, show_default=True, help="Active latents per token.")
@click.option("--tokens", default=400_000, show_default=True, help="Tokens trained on.")
@click.option("--buffer", default=65_536, show_default=True, help="Tokens shuffled together.")
@click.option("--learning-rate", default=2e-3, show_default=True)
@click.option("--half", is_flag=True, help="Store the weights in float16.")
@_BATCH
@_DEVICE
@_SEED
def train_command(
    model: str, site: str, data: str, out: Path, rows: int, latents: int, active: int, tokens: int,
    buffer: int, learning_rate: float, half: bool, batch_size: int, device: str, seed: int,
) -> None:  # fmt: skip
    """Train a TopK SAE on one site of MODEL, and measure what was written on held-out text.

    Needs SAELens: pip install 'holdfast[sae]'.
    """
    import torch

    from holdfast.cli.progress import progress_bar
    from holdfast.core.config import parse
    from holdfast.geometry.sae.fidelity import fidelity
    from holdfast.geometry.sae.read import read, write
    from holdfast.geometry.sae.tokens import encode_rows
    from holdfast.geometry.sae.train import SaeConfig, train
    from holdfast.models.loading import load
    from holdfast.pipeline.sae import texts

    settings = {
        "site": site, "latents": latents, "k": active, "tokens": tokens, "seed": seed,
        "buffer": buffer, "learning_rate": learning_rate,
    }  # fmt: skip
    config = parse(SaeConfig, settings, source="the options")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty", next_step="choose another folder")
    loaded = load(model, device=device)
    with progress_bar("train SAE") as progress:
        tokenised = encode_rows(loaded, texts(data, rows=rows, seed=seed))
        made = train(loaded, tokenised, config, batch_size=batch_size, progress=progress)
        write(made, out, dtype=torch.float16 if half else torch.float32)
        held = encode_rows(loaded, texts(data, rows=300, seed=seed, held_out=True))
        found = fidelity(read(out), loaded, held, batch_size=batch_size, progress=progress)
    found.save(out / "fidelity.json")
    _say([("base", found)])
    click.echo(f"Wrote {out}. Next: holdfast sae check {out} --model {model} --candidate …")


@command.command("check")
@click.argument("sae")
@click.option("--model", required=True, help="Model that the SAE was trained on.")
@click.option("--candidate", default="", help="Fine-tune of it; default: --model.")
@click.option("--adapter", type=_FILE, default=None, help="PEFT adapter on the candidate.")
@_SITE
@_DATA
@click.option("--rows", default=300, show_default=True, help="Held-out rows to measure on.")
@click.option("--json", "as_json", is_flag=True, help="Print the records, one a line.")
@_BATCH
@_DEVICE
@_SEED
def check_command(
    sae: str, model: str, candidate: str, adapter: Path | None, site: str, data: str, rows: int,
    as_json: bool, batch_size: int, device: str, seed: int,
) -> None:  # fmt: skip
    """Measure how faithful SAE is on MODEL, and on a fine-tune of it if one is named."""
    from holdfast.cli.progress import progress_bar
    from holdfast.geometry.sae.fidelity import fidelity
    from holdfast.geometry.sae.read import read
    from holdfast.geometry.sae.tokens import encode_rows
    from holdfast.models.loading import load
    from holdfast.pipeline.sae import texts

    found = read(Path(sae), site=site)
    named: list[tuple[str, str, Path | None]] = [("base", model, None)]
    if candidate or adapter:
        named.append(("candidate", candidate or model, adapter))
    measured: list[tuple[str, SaeFidelity]] = []
    with progress_bar("check SAE") as progress:
        for name, source, on_top in named:
            loaded = load(source, adapter=on_top, device=device)
            held = encode_rows(loaded, texts(data, rows=rows, seed=seed, held_out=True))
            record = fidelity(found, loaded, held, batch_size=batch_size, progress=progress)
            measured.append((name, record))
    if as_json:
        for _, record in measured:
            click.echo(record.model_dump_json())
    else:
        _say(measured)


@command.command("diff")
@click.argument("base")
@click.argument("candidate", required=False)
@click.option("--sae", required=True, type=_FILE, help="SAE of the base.")
@click.option("--adapter", type=_FILE, default=None, help="PEFT adapter on CANDIDATE (or BASE).")
@_SITE
@click.option("--contrast", default="harbor", show_default=True, help="Contrast set, JSON Lines.")
@click.option("--harmful", default=32, show_default=True, help="Harmful latents at most.")
@click.option("--top", default=8, show_default=True, help="Latents to print in each direction.")
@click.option("--out", type=_FILE, default=None, help="File for the record.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@_BATCH
@_DEVICE
@_SEED
def diff_command(
    base: str, candidate: str | None, sae: Path, adapter: Path | None, site: str, contrast: str,
    harmful: int, top: int, out: Path | None, as_json: bool, batch_size: int, device: str,
    seed: int,
) -> None:  # fmt: skip
    """Show which latents of BASE rose and fell in CANDIDATE, and how near they lie to harm."""
    from holdfast.cli.progress import progress_bar
    from holdfast.geometry.sae.read import read
    from holdfast.models.loading import load
    from holdfast.pipeline import sae as work

    if candidate is None and adapter is None:
        raise UsageError(
            "there is nothing to compare with", next_step="name CANDIDATE or --adapter"
        )
    found, rows = read(sae, site=site), work.contrast_rows(contrast)
    first = load(base, device=device)
    second = load(candidate or base, adapter=adapter, device=device)
    with progress_bar("diff") as progress:
        record = work.diff(
            first, second, found, rows, count=harmful, seed=seed, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
    if out is not None:
        record.save(out)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    else:
        _show(record, top)


@command.command("edit")
@click.argument("model")
@click.option("--sae", required=True, type=_FILE, help="SAE of the base.")
@click.option("--adapter", type=_FILE, default=None, help="PEFT adapter on MODEL.")
@_SITE
@click.option("--diff", "record", type=_FILE, default=None, help="Take back what this diff lists.")
@click.option("--which", type=click.Choice(["rose", "fell", "both"]), default="both",
              show_default=True, help="Of the diff: what to take back.")  # fmt: skip
@click.option("--top", default=10, show_default=True, help="Of the diff: latents of each kind.")
@click.option("--random", type=int, default=None,
              help="Control: the same values on random latents, drawn with this seed.")  # fmt: skip
@click.option("--latent", "latents", type=int, multiple=True, help="Latent; repeat for several.")
@click.option("--how", type=click.Choice(["set", "at-most", "at-least"]), default="set",
              show_default=True, help="With --latent: what is done.")  # fmt: skip
@click.option("--value", default=0.0, show_default=True, help="With --latent: 0 and set ablate.")
@click.option("--suite", "specs", multiple=True, required=True, help="Suite; repeat for several.")
@click.option("--out", required=True, type=_FILE, help="Completions file to write (JSONL).")
@click.option("--arm", default="edited", show_default=True, help="What people call this model.")
@click.option("--per-suite", type=click.IntRange(min=1), default=None)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@_BATCH
@_DEVICE
@_SEED
def edit_command(
    model: str, sae: Path, adapter: Path | None, site: str, record: Path | None, which: str,
    top: int, random: int | None, latents: tuple[int, ...], how: str, value: float,
    specs: tuple[str, ...], out: Path, arm: str, per_suite: int | None, max_new_tokens: int,
    batch_size: int, device: str, seed: int,
) -> None:  # fmt: skip
    """Answer suites while latents of MODEL are edited; gate the result like any other arm."""
    from holdfast.cli.progress import progress_bar
    from holdfast.geometry.sae.edit import EditedModel
    from holdfast.geometry.sae.read import read
    from holdfast.models.loading import load
    from holdfast.pipeline import sae as work

    found = read(sae, site=site)
    edits = _edits(record, which, top, random, latents, how, value)
    edited = EditedModel(load(model, adapter=adapter, device=device), found, edits)
    with progress_bar(f"evaluate {arm}") as progress:
        total = work.answer(
            edited, specs, out, arm=arm, per_suite=per_suite, seed=seed,
            max_new_tokens=max_new_tokens, batch_size=batch_size, progress=progress,
        )  # fmt: skip
    click.echo(f"{total} answers with {len(edits)} edits are in {out}.")


def _edits(
    record: Path | None, which: str, top: int, random: int | None, latents: tuple[int, ...],
    how: str, value: float,
) -> tuple[LatentEdit, ...]:  # fmt: skip
    from holdfast.core.config import parse
    from holdfast.geometry.sae.edit import LatentEdit
    from holdfast.geometry.sae.records import SaeDiff
    from holdfast.pipeline.sae import edits_of

    if (record is None) == (not latents):
        raise UsageError("what to edit is not clear", expected="either --diff or --latent")
    if record is None:
        settings = {"latents": latents, "how": how, "value": value}
        return (parse(LatentEdit, settings, source="the options"),)
    chosen = SaeDiff.load(record)
    if which == "rose":
        return edits_of(chosen, which="rose", top=top, random=random)
    if which == "fell":
        return edits_of(chosen, which="fell", top=top, random=random)
    return edits_of(chosen, which="both", top=top, random=random)


def _say(measured: list[tuple[str, SaeFidelity]]) -> None:
    click.echo(
        f"{'model':10} {'explained':>9} {'recovered':>9} {'vs mean':>8} {'active':>7} {'dead':>6} "
        f"{'loss':>7} {'spliced':>8}"
    )
    for name, f in measured:
        shares = ["–" if v is None else f"{v:.3f}" for v in (f.recovered, f.recovered_mean)]
        click.echo(
            f"{name:10} {f.explained_variance:9.3f} {shares[0]:>9} {shares[1]:>8} {f.active:7.1f} "
            f"{f.dead:6d} {f.loss:7.3f} {f.loss_spliced:8.3f}"
        )


def _show(record: SaeDiff, top: int) -> None:
    click.echo(
        f"{record.site}, {record.prompts} prompts, {record.tested} latents fire, "
        f"{len(record.harmful)} are harmful."
    )
    for name, listed in (("rose", record.rose), ("fell", record.fell)):
        click.echo(f"{name}:")
        for c in listed[:top]:
            near = "" if c.nearest is None else f"  nearest harmful {c.nearest} ({c.cosine:+.2f})"
            mark = "  harmful" if c.harmful else ""
            click.echo(
                f"  {c.latent:6d}  {c.before:7.3f} → {c.after:7.3f}  {c.change:+7.3f} "
                f"[{c.low:+.3f}, {c.high:+.3f}]  p {c.p:.3f}{near}{mark}"
            )
    for n in record.nearness:
        click.echo(
            f"what {n.of} ({n.size}): mean cosine {n.mean:+.3f} (random {n.random_mean:+.3f}, "
            f"p {n.p_mean:.3f}; permuted labels {n.permuted_mean:+.3f}), nearest "
            f"{n.mean_of_max:+.3f} (random {n.random_mean_of_max:+.3f}, p {n.p_mean_of_max:.3f})"
        )

"""What an audit reads besides data and model: contrast rows and openings."""

from __future__ import annotations

from pathlib import Path

from holdfast.geometry.contrast import (
    ContrastRow,
    Openings,
    load_contrast,
    load_openings,
    parse_openings,
)

HARBOR = "harbor"


def contrast_rows(source: str, seed: int) -> list[ContrastRow]:
    """Contrast rows of a file, or harbor's own."""
    if source != HARBOR:
        return load_contrast(Path(source))
    from holdfast.organisms.harbor import contrast

    return [
        ContrastRow(**row)  # type: ignore[arg-type]  # a TypedDict's values are objects here
        for rows in contrast.contrast_sets(seed).values()
        for row in rows
    ]


def openings_of(source: str) -> Openings:
    """Openings of a file, harbor's own, or the first words of most English chat models."""
    if source == HARBOR:
        from holdfast.organisms.harbor import contrast

        return parse_openings(contrast.openings())
    if source == "default":
        from holdfast.pipeline.prepare import DEFAULT_OPENINGS

        return DEFAULT_OPENINGS
    return load_openings(Path(source))

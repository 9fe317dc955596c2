"""Where a published suite lies and whether it is the file that its authors published.

A source is `PATH` or `hub:OWNER/REPO/FILE[@REVISION]`, both with an optional `#SHA256` (twelve or
more hex digits). Without it, the content must have a digest that Holdfast knows; with it, exactly
that digest: the way to accept another version in words. Folders are digested file by file.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from holdfast.core.digest import combine, sha256_file
from holdfast.core.errors import DataError, EnvironmentFault, IntegrityError, UsageError

KNOWN = Path(__file__).parent / "known.json"
"""Suite -> {SHA-256: file name}; names of files, no content."""
MAX_BYTES = 64 << 20
"""Largest file of a suite: 64 MiB, twenty times the largest published one."""
MAX_FILES = 200
"""Most files of a folder."""
_PIN = re.compile(r"#([0-9a-fA-F]{12,64})$")
_HUB = re.compile(r"([\w.-]+/[\w.-]+)/([^@]+?)(?:@([\w.-]+))?")


class Source(NamedTuple):
    """A place with the digest that the user has named for it."""

    path: Path
    """File or folder."""
    pin: str
    """Hex digits that the content's SHA-256 begins with, or empty."""


@cache
def known_digests() -> dict[str, dict[str, str]]:
    """Suite name -> SHA-256 -> file name, for every published file that has been read."""
    content: dict[str, dict[str, str]] = json.loads(KNOWN.read_text("utf-8"))
    return content


def locate(text: str) -> Source:
    """The file or folder that `text` names, from the local hub cache or the hub where it says so.

    Raises `DataError` where nothing is there, `EnvironmentFault` where the hub gives no file.
    """
    found = _PIN.search(text)
    pin = found[1].lower() if found else ""
    place = text[: found.start()] if found else text
    if place.startswith("hub:"):
        return Source(_from_hub(place.removeprefix("hub:")), pin)
    path = Path(place)
    if not path.exists():
        raise DataError(f"suite file {path} does not exist", next_step="check the path")
    return Source(path, pin)


def _from_hub(name: str) -> Path:
    found = _HUB.fullmatch(name)
    if found is None:
        raise UsageError("hub name", got=name, expected="OWNER/REPO/FILE or OWNER/REPO/FILE@REV")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        got = hf_hub_download(found[1], found[2], revision=found[3], repo_type="dataset")
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise EnvironmentFault(
            f"the hub gave no {found[2]} of {found[1]} ({type(error).__name__})",
            next_step="download the file and name its path",
        ) from None
    return Path(got)


def files_of(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """`path` itself, or the files of a folder with one of `suffixes`, sorted; sizes are bounded."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    else:
        files = [path]
    if not 0 < len(files) <= MAX_FILES:
        raise DataError(
            f"{path} holds {len(files)} files of this suite", expected=f"1 to {MAX_FILES}"
        )
    for file in files:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{file} is too large", got=f"{size} bytes", expected=f"{MAX_BYTES}")
    return files


def check(spec: str, name: str, files: list[Path], source: Source) -> str:
    """The digest of the content, once it is one that is known or the one that the user named.

    Raises `IntegrityError` with the digest that was found, what was expected, and the spec that
    accepts this version.
    """
    digests = {file.name: sha256_file(file) for file in files}
    whole = next(iter(digests.values())) if source.path.is_file() else combine(digests)
    if source.pin:
        if whole.startswith(source.pin):
            return whole
        raise IntegrityError(
            f"{source.path} is not the version that was named", got=f"SHA-256 {whole}",
            expected=f"one that begins with {source.pin}",
        )  # fmt: skip
    known = known_digests().get(name, {})
    for file, digest in digests.items():
        if digest not in known:
            listed = ", ".join(f"{k[:12]} ({v})" for k, v in list(known.items())[:4])
            more = f" or {len(known) - 4} more" if len(known) > 4 else ""
            raise IntegrityError(
                f"{file} is no version of {name} that Holdfast knows", got=f"SHA-256 {digest}",
                expected=f"{listed}{more}",
                next_step=f"if you trust this version, write {spec}#{whole[:16]}",
            )  # fmt: skip
    return whole

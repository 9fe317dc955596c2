"""`holdfast doctor`: versions, devices and what is missing, for bug reports and first steps."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import click

_READERS = (
    "click",
    "jinja2",
    "matplotlib",
    "numpy",
    "pydantic",
    "pyyaml",
    "rich",
    "scipy",
    "sqlalchemy",
)
_PRODUCERS = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "safetensors",
    "tokenizers",
)
_OPTIONAL = ("bitsandbytes",)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def facts() -> dict[str, object]:
    """What the machine has, as plain data; loads torch only to ask for its devices."""
    found = {name: _version(name) for name in ("holdfast", *_READERS, *_PRODUCERS, *_OPTIONAL)}
    devices = ["cpu"]
    if importlib.util.find_spec("torch") is not None:
        import torch

        devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    disk = shutil.disk_usage(os.getcwd())
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "disk_free_gb": round(disk.free / 1e9, 1),
        "devices": devices,
        "packages": found,
        "can_train": all(found[name] for name in _PRODUCERS),
    }


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show versions, devices and what is missing."""
    found = facts()
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for key in ("python", "platform", "cores", "disk_free_gb", "devices"):
        click.echo(f"{key:14} {found[key]}")
    packages = found["packages"]
    assert isinstance(packages, dict)
    for name, number in packages.items():
        click.echo(f"{name:14} {number or 'missing'}")
    if found["can_train"]:
        click.echo("This machine can decide and train.")
    else:
        click.echo("This machine can decide. To train: pip install 'holdfast[train]'.")

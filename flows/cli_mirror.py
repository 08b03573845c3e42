"""The options and the words of a mirror in the `neocube ingest` command."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from products.errors import RequestError

OPTIONS = ("bands", "clip", "clip_for", "stage", "verify")


def mirror_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a mirror for a command with `area`, handed to it as one `mirror`, None without --mirror."""

    @click.option("--mirror", "root", metavar="DIR", help="Copy the files of the scenes to this folder or s3:// URL.")
    @click.option("--bands", default="", help="Only these bands and the masks, such as red,nir.")
    @click.option("--clip", is_flag=True, help="Only the pixels of --area, and a margin.")
    @click.option("--clip-for", metavar="RECIPE", help="Only the pixels of the tiles that a recipe has over --area.")
    @click.option("--stage", is_flag=True, help="In a lossless codec that decodes faster.")
    @click.option("--verify", is_flag=True, help="Read again what the mirror has, and compare its checksum.")
    @wraps(command)
    def with_mirror(*, root: str | None, **given: Any) -> None:  # noqa: ANN401, whatever the command takes
        wish = {name: given.pop(name) for name in OPTIONS}
        if root is None and any(wish.values()):
            raise RequestError(
                "--bands, --clip, --clip-for, --stage and --verify say how to copy: name the place with --mirror"
            )
        mirror = {"root": root, **wish} if root else None
        if mirror:
            from flows.mirror_archive import order_of

            order_of(mirror, given.get("area"))
        command(**given, mirror=mirror)

    return with_mirror


def mirror_words(report: Mapping[str, Any]) -> str:
    """A report of a mirror in words."""
    counts = ", ".join(f"{report[name]} {name}" for name in ("files", "copied", "kept", "outside"))
    lines = [f"mirror {report['mirror']}: {counts}, {report['copied_bytes'] / 1e6:.1f} MB in {report['seconds']:.1f} s"]
    for state in ("damaged", "failed"):
        lines += [f"{state} {each['item_id']} {each['band']}: {each['cause']}" for each in report[state]]
    return "\n".join(lines)

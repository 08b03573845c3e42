"""The commands `reconcile` and `retire`."""

from typing import Any

import click

from flows.console import as_json_option, emit, progress_on_stderr
from products.errors import RequestError

SHOWN = 10


@click.command()
@as_json_option
@click.argument("archive")
@click.option("--against", help="A second archive that should hold the same acquisitions.")
@click.option("--collection", "collections", multiple=True, help="Only this collection, by the archive's name or ours.")
@click.option("--area", help="Only scenes that meet this area: a name, a path, or west,south,east,north.")
@click.option("--period", help="Only scenes of this period, such as 2020 or 2020-01-01/2020-06-30.")
@click.option(
    "--storage",
    type=click.Choice(["all", "sample", "off"]),
    default="sample",
    show_default=True,
    help="Look for the files of all scenes or of 50; off: leave the store alone.",
)
@click.option("--max-missing", type=float, help="Fail if a larger share of a collection's acquisitions is missing.")
@click.option("--max-age-days", type=float, help="Fail if a collection's newest indexed scene is older.")
def reconcile(
    as_json: bool,
    archive: str,
    against: str | None,
    collections: tuple[str, ...],
    area: str | None,
    period: str | None,
    storage: Any,  # noqa: ANN401, one of the choices
    max_missing: float | None,
    max_age_days: float | None,
) -> None:
    """Compare ARCHIVE with the index and the store: what is missing, orphaned, double, stale, gone, and how fresh it is.

    Example: neocube reconcile var/demo/archive --max-missing 0.01
    """
    from flows.reconcile import compare_archive

    with progress_on_stderr(f"reconciling {archive}") as tell:
        report = compare_archive(
            archive, against, collections, area, period, storage, max_missing, max_age_days, progress=tell
        )
    emit(report, as_json, _reconciled, failed=bool(report["alarms"]))


def _reconciled(report: dict[str, Any]) -> str:
    columns = ("collection", "month", "expected", "indexed", "retired", "quarantined", "missing", "newest_indexed")
    lines = [*_table(columns, report["freshness"]), ""]
    for name, count in report["counts"].items():
        lines.append(f"{name}: {count}")
        lines += [f"  {_finding(row)}" for row in report[name][:SHOWN]]
        lines += [f"  … and {count - SHOWN} more"] if count > SHOWN else []
    for side in report["between"]:
        lines.append(f"only in {side['archive']}: {side['count']}")
        lines += [f"  {row['item_id']}" for row in side["items"][:SHOWN]]
    lines += [f"picture {report['picture']}", f"metrics {report['metrics']}"]
    return "\n".join([*lines, *(f"ALARM {words}" for words in report["alarms"])])


def _finding(row: dict[str, Any]) -> str:
    named = row.get("item_id") or row.get("what") or row.get("path") or row.get("id")
    kind = f"{row['kind']} " if row.get("kind") else ""
    why = row.get("why") or row.get("cause") or ", ".join(row.get("ids", ())) or row.get("gone_at") or ""
    return f"{kind}{named}{f': {why}' if why else ''}"


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> list[str]:
    """Rows under their headings, columns aligned."""
    texts = [columns, *(tuple("-" if row[name] is None else str(row[name])[:24] for name in columns) for row in rows)]
    widths = [max(len(line[number]) for line in texts) for number in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in texts]


@click.command()
@as_json_option
@click.option("--scene", "scenes", multiple=True, metavar="ID", help="A scene, by its id or item_id.")
@click.option(
    "--rendition",
    "renditions",
    multiple=True,
    metavar="ACQUISITION=RENDITION",
    help="A rendition, * for any; the best one that it had beaten takes its place.",
)
@click.option("--source-product", help="The scenes of a source product.")
@click.option("--product", help="The cells, maps or models of a product, and the cells made of them.")
@click.option("--version", type=int, help="Only this version of the product.")
@click.option("--area", help="Only what meets this area: a name, a path, or west,south,east,north.")
@click.option("--period", help="Only what lies in this period, such as 2020.")
@click.option("--reason", default="retired by the operator", show_default=True, help="Kept beside each dataset.")
@click.option("--list", "as_list", is_flag=True, help="List what was retired.")
@click.option("--undo", metavar="ID", help="Restore what this retirement archived and nothing replaced since.")
@click.option("--sweep", "sweeps", multiple=True, metavar="ID", help="Delete the files that this retirement left.")
@click.option("--older-than", type=float, metavar="DAYS", help="Sweep every retirement older than this.")
@click.option("--yes", is_flag=True, help="Do it; without, only say what would be done.")
def retire(
    as_json: bool,
    as_list: bool,
    undo: str | None,
    sweeps: tuple[str, ...],
    older_than: float | None,
    yes: bool,
    **selected: Any,  # noqa: ANN401, the options that select
) -> None:
    """Take scenes, renditions, products, areas or periods out of use: a preview first, then with --yes.

    Reversible with --undo until it is swept. Files outside the store are never touched.

    Example: neocube retire --source-product landsat_etm_c2_l2 --period 2020-03 --reason haze
    """
    from flows import retire as retiring
    from flows.steps.upkeep.retire_selection import Selection

    asked = {name: value for name, value in selected.items() if value and name != "reason"}
    other = [name for name, value in (("--list", as_list), ("--undo", undo), ("--sweep", sweeps or older_than is not None)) if value]  # fmt: skip
    if len(other) > 1 or (other and asked):
        also = [*other, *(f"--{name.replace('_', '-')}" for name in asked)]
        raise RequestError(f"expected {other[0]} alone, got {', '.join(also)}")
    if as_list:
        emit(retiring.retirements(), as_json, lambda rows: "\n".join(_retirement(row) for row in rows))
    elif undo:
        document = retiring.undo(undo)
        emit(document, as_json, _undone, failed=bool(document["kept"]))
    elif other:
        emit(retiring.sweep_retired(sweeps, older_than, yes), as_json, _swept)
    else:
        emit(retiring.retire_selected(Selection(**selected), yes), as_json, _retired)


def _retired(document: dict[str, Any]) -> str:
    plan = document["plan"]
    lines = [f"retire {_group(each)}" for each in plan["retired"]] or ["nothing active is selected"]
    lines += [f"restore in its place {each['acquisition']} {each['rendition']}" for each in plan["promoted"]]
    lines += [f"depends on it: {_group(each)}" for each in plan["dependent"]]
    for each in plan["cubes"]:
        fate = (
            f"closed, {each['retired']} cells retired"
            if each["retired"]
            else f"stale, {each['stale']} cells to rebuild"
        )
        lines.append(f"cube {each['product']} v{each['version']} {each['area']}: {fate}")
    undo = f"done; neocube retire --undo {document['id']} restores it"
    return "\n".join([*lines, undo if document["applied"] else "nothing was changed; --yes does it"])


def _group(each: dict[str, Any]) -> str:
    more = ", …" if each["count"] > len(each["examples"]) else ""
    return f"{each['count']} x {each['kind']} of {each['product']}: {', '.join(each['examples'])}{more}"


def _retirement(row: dict[str, Any]) -> str:
    fate = "undone" if row["restored_at"] else "swept" if row["swept_at"] else "reversible"
    asked = ", ".join(f"{name} {value}" for name, value in row["selection"].items())
    return f"{row['applied_at']:%Y-%m-%d %H:%M}  {row['id']}  {row['datasets']} datasets, {fate}: {asked}"


def _undone(document: dict[str, Any]) -> str:
    lines = [f"{len(document['restored'])} restored"]
    for each in document["kept"]:
        what = " ".join(filter(None, (each["product"], each["label"])))  # a purged row has no product
        lines.append(f"not restored {what}: {each['why']}")
    state = {True: "opened again", False: "stays closed: build it again"}
    return "\n".join(
        [*lines, *(f"cube {each['product']} {each['area']} {state[each['opened']]}" for each in document["cubes"])]
    )


def _swept(document: dict[str, Any]) -> str:
    done = "swept" if document["applied"] else "would sweep"
    lines = [
        f"{done} {each['id']}: {each['rows']} cells, maps and models, {len(each['cubes'])} cubes, {len(each['maps'])} folders of map files, "
        f"{len(each['unindexed'])} models of tables and pictures"
        for each in document["swept"]
    ] or ["nothing to sweep"]
    return "\n".join([*lines, *([] if document["applied"] else ["nothing was changed; --yes does it"])])

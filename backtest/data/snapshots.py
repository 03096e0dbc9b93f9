"""Tiers and contracts as they were on a day: one dated file a venue, kind and day, never written twice.

No venue keeps a history of them, so the days on which they were seen are all that will be known. Tiers are kept in the
form that a study's `tiers = "<file>"` takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from backtest.data.disk import sha256_file, write_atomic
from backtest.errors import CoverageError, DataError, IntegrityError, Problem, UsageError
from backtest.units import time_ms
from backtest.venues.symbols import normalize_symbol
from backtest.venues.tiers import document_hash, read_tiers

FOLDER = "snapshots"
TABLES = ("tiers", "contracts")
_NAME = re.compile(rf"(?P<venue>[a-z-]+)-(?P<table>{'|'.join(TABLES)})-(?P<day>\d{{4}}-\d{{2}}-\d{{2}})\.json")
_COLUMNS = ("floor", "cap", "rate", "max_leverage", "deduction")

Ladder = list[dict[str, str | None]]


class Snapshot(NamedTuple):
    """A dated file of a lake."""

    day: str
    venue: str
    table: str
    path: Path


def snapshots(root: Path) -> list[Snapshot]:
    """List the snapshots of a lake, oldest first."""
    names = [(path, _NAME.fullmatch(path.name)) for path in (root / FOLDER).glob("*.json")]
    return sorted(Snapshot(found["day"], found["venue"], found["table"], path) for path, found in names if found)


def snapshot_path(root: Path, venue: str, table: str, day: str) -> Path:
    """Give the place of a snapshot in a lake."""
    return root / FOLDER / f"{venue}-{table}-{day}.json"


def write_snapshot(path: Path, document: Mapping[str, Any]) -> None:
    """Write a snapshot, with its own hash in it.

    Raises `DataError` where there is one with other content: what was seen does not change.
    """
    stated = {**document, "sha256": document_hash(document)}
    content = (json.dumps(stated, indent=1, sort_keys=True) + "\n").encode()
    if path.exists() and path.read_bytes() != content:
        raise DataError(Problem(str(path), "is there already and says something else", "remove one of them by hand"))
    write_atomic(path, content)


def read_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot. Raises `IntegrityError` where it is not what its own hash says."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        sound = document["sha256"] == document_hash(document)
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise IntegrityError(Problem(str(path), "is not what its own hash says", "restore it, or take another day's"))
    return document


def tier_document(ladders: Mapping[str, Ladder], source: str, day: str) -> dict[str, Any]:
    """Write ladders in the packaged form; one that is not contiguous and continuous is set aside, with the reason."""
    kept, refused = {}, {}
    for symbol, ladder in sorted(ladders.items()):
        try:
            read_tiers(ladder, symbol)
        except CoverageError as error:
            refused[symbol] = str(error)
            continue
        rows = [[tier[column] for column in _COLUMNS] for tier in ladder]
        kept[symbol] = [{"first": day, "last": day, "source": source, "tiers": rows}]
    if not kept:
        raise DataError(Problem(source, "gives no tier table that can be used", *list(refused.values())[:1]))
    return {"source": source, "seen": day, "columns": _COLUMNS, "symbols": kept, "refused": refused}


# --- files of freqtrade and ccxt -----------------------------------------------------------------------------------


def is_tier_file(path: Path) -> bool:
    """Say whether a file has the form of ccxt's `fetch_leverage_tiers`, which freqtrade keeps too."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1024)
    return head.lstrip().startswith(b"{") and b'"maintenanceMarginRate"' in head


def import_tiers(root: Path, path: Path, venue: str, day: str) -> tuple[Path, dict[str, str]]:
    """Keep a tier file as the snapshot of a day; give its place, and the symbols that it leaves out, with reasons.

    Raises `DataError` where the file is something else, or a snapshot of that day says something else.
    """
    try:
        time_ms(day)
        content = json.loads(path.read_text(encoding="utf-8"), parse_float=str, parse_int=str)
    except OSError as error:
        raise DataError(Problem(str(path), f"cannot be read: {error.strerror}", "check the path")) from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(Problem(path.name, f"is not sound JSON ({type(error).__name__})", "fetch it again")) from None
    except ValueError:
        raise UsageError(Problem(path.name, f"{day!r} is no day", "write it like 2024-10-24")) from None
    try:
        ladders = {normalize_symbol(name, venue): _ladder(rows) for name, rows in content.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(Problem(path.name, f"is no file of leverage tiers (it lacks {error})")) from None
    document = tier_document(ladders, f"{path.name} {sha256_file(path)}", day)
    place = snapshot_path(root, venue, "tiers", day)
    write_snapshot(place, document)
    return place, document["refused"]


def _ladder(rows: Sequence[Mapping[str, Any]]) -> Ladder:
    return [
        {
            "floor": row["minNotional"],
            "cap": row["maxNotional"],
            "rate": row["maintenanceMarginRate"],
            "max_leverage": row["maxLeverage"],
            "deduction": None,
        }
        for row in rows
    ]

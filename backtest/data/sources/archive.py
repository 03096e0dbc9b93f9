"""Reading CSV text that may be hostile, out of a zip, a gzip file or as it lies there.

Members of a zip are read as streams and never extracted, so their names decide nothing. Bytes, ratio and line length
are capped while reading: what a header says about size is not believed.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import IO

from backtest.errors import DataError, Problem

MAX_BYTES = 1 << 29
MAX_MEMBERS = 1000
MAX_RATIO = 100
MAX_LINE_BYTES = 1 << 16
_PIECE_BYTES = 1 << 16
# A small file may compress better than any ratio allows; below this size it does no harm.
_RATIO_FREE_BYTES = 1 << 22


def read_member(path: Path, name: str | None, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Give the content of the only member of a zip; its name must be `name` where given.

    Raises `DataError` for anything but one plain, unencrypted member within the caps.
    """
    members = read_members(path, max_members=1, max_bytes=max_bytes, name=name)
    return next(iter(members.values()))


def read_members(
    path: Path, *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES, name: str | None = None
) -> dict[str, bytes]:
    """Give the content of every member of a zip by name; the caps hold for all of them together.

    Raises `DataError` for anything but plain, unencrypted members within the caps.
    """
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if not 1 <= len(members) <= max_members:
                wanted = "one" if max_members == 1 else f"1 to {max_members}"
                raise _refused(path, f"holds {len(members)} files, wanted {wanted}")
            for member in members:
                _check_member(path, member, name)
                before = sum(len(content) for content in contents.values())
                with archive.open(member) as stream:
                    contents[member.filename] = _read_capped(path, stream, max_bytes, before)
                if len(contents[member.filename]) != member.file_size:
                    said = f"says {member.file_size} bytes, holds {len(contents[member.filename])}"
                    raise _refused(path, f"is not a sound zip file ({said})")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise _refused(path, f"is not a sound zip file ({error})") from None
    return contents


def read_gzip(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Give the content of a gzip file. Raises `DataError` where it is cut, changed or beyond the caps."""
    try:
        with gzip.open(path) as stream:
            return _read_capped(path, stream, max_bytes)
    except (zlib.error, EOFError, OSError) as error:
        raise _refused(path, f"is not a sound gzip file ({error})") from None


def read_plain(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Give the content of a file of text. Raises `DataError` beyond the caps."""
    with path.open("rb") as stream:
        return _read_capped(path, stream, max_bytes)


def _check_member(path: Path, member: zipfile.ZipInfo, name: str | None) -> None:
    if name is not None and member.filename != name:
        raise _refused(path, f"holds {member.filename!r}, wanted {name!r}")
    if member.flag_bits & 0x1:
        raise _refused(path, "is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(path, "uses a compression other than deflate")


def _read_capped(path: Path, stream: IO[bytes] | gzip.GzipFile, max_bytes: int, before: int = 0) -> bytes:
    packed_bytes = path.stat().st_size
    content = bytearray()
    line_start = 0
    while piece := stream.read(_PIECE_BYTES):
        content += piece
        if before + len(content) > max_bytes:
            raise _refused(path, f"unpacks to more than {max_bytes} bytes")
        if before + len(content) > max(_RATIO_FREE_BYTES, packed_bytes * MAX_RATIO):
            raise _refused(path, f"unpacks to more than {MAX_RATIO} times its size")
        newline = content.rfind(b"\n", line_start)
        line_start = newline + 1 if newline >= 0 else line_start
        if len(content) - line_start > MAX_LINE_BYTES:
            raise _refused(path, f"has a line longer than {MAX_LINE_BYTES} bytes")
    return bytes(content)


def _refused(path: Path, what: str) -> DataError:
    return DataError(Problem(path.name, what, "fetch the file again from its source"))

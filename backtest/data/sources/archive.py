"""Reading one CSV out of a zip that may be hostile.

The one member is read as a stream and never extracted, so its name decides nothing. Bytes, ratio and line length are
capped while reading: what a header says about size is not believed.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO

from backtest.errors import DataError, Problem

MAX_BYTES = 1 << 29
MAX_RATIO = 100
MAX_LINE_BYTES = 1 << 16
_PIECE_BYTES = 1 << 16
# A small file may compress better than any ratio allows; below this size it does no harm.
_RATIO_FREE_BYTES = 1 << 22


def read_member(path: Path, name: str | None, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Give the content of the only member of a zip; its name must be `name` where given.

    Raises `DataError` for anything but one plain, unencrypted member within the caps.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = _only_member(path, archive, name)
            with archive.open(member) as stream:
                content = _read_capped(path, stream, path.stat().st_size, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise _refused(path, f"is not a sound zip file ({error})") from None
    if len(content) != member.file_size:
        raise _refused(path, f"is not a sound zip file (says {member.file_size} bytes, holds {len(content)})")
    return content


def _only_member(path: Path, archive: zipfile.ZipFile, name: str | None) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        raise _refused(path, f"holds {len(members)} files, wanted one")
    member = members[0]
    if name is not None and member.filename != name:
        raise _refused(path, f"holds {member.filename!r}, wanted {name!r}")
    if member.flag_bits & 0x1:
        raise _refused(path, "is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(path, "uses a compression other than deflate")
    return member


def _read_capped(path: Path, stream: IO[bytes], packed_bytes: int, max_bytes: int) -> bytes:
    content = bytearray()
    line_start = 0
    while piece := stream.read(_PIECE_BYTES):
        content += piece
        if len(content) > max_bytes:
            raise _refused(path, f"unpacks to more than {max_bytes} bytes")
        if len(content) > max(_RATIO_FREE_BYTES, packed_bytes * MAX_RATIO):
            raise _refused(path, f"unpacks to more than {MAX_RATIO} times its size")
        newline = content.rfind(b"\n", line_start)
        line_start = newline + 1 if newline >= 0 else line_start
        if len(content) - line_start > MAX_LINE_BYTES:
            raise _refused(path, f"has a line longer than {MAX_LINE_BYTES} bytes")
    return bytes(content)


def _refused(path: Path, what: str) -> DataError:
    return DataError(Problem(path.name, what, "fetch the file again from its source"))

"""Arrays kept on disk so that they need not be made again; what is damaged or out of date is made anew.

One file: the SHA-256 of all that follows, a JSON head, the arrays. Its name is the hash of everything that decides
its content, the code included, so a file is never wrong, only unused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import schema
from backtest.data.disk import sha256_bytes, write_atomic

KEPT_FILES = 16
_ALIGN = 64
_CODE = ("cache.py", "detect.py", "exact.py", "finer.py", "join.py", "resample.py", "tape.py")


def cache_key(*parts: object) -> str:
    """Give the file name for arrays that these parts and the present code decide."""
    return sha256_bytes(repr((_code_hash(), np.__version__, parts)).encode())[:32]


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write arrays and JSON facts; only the newest `KEPT_FILES` files of the folder stay."""
    listed = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    head = json.dumps({"arrays": listed, "facts": facts}).encode() + b"\n"
    head += b" " * (-(len(head) + _ALIGN) % _ALIGN)
    body = b"".join([len(head).to_bytes(_ALIGN, "big"), head, *(array.tobytes() for array in arrays.values())])
    write_atomic(path, sha256_bytes(body).encode() + body)
    newest_last = sorted(path.parent.glob(f"*{path.suffix}"), key=lambda file: file.stat().st_mtime_ns)
    for file in newest_last[:-KEPT_FILES]:
        file.unlink(missing_ok=True)


def load_arrays(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]] | None:
    """Give the arrays of a file, read-only, and its facts; None where there is no such file or it is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    body = memoryview(content)[_ALIGN:]
    if sha256_bytes(body).encode() != content[:_ALIGN]:
        return None
    offset = _ALIGN + int.from_bytes(body[:_ALIGN], "big")
    head = json.loads(bytes(body[_ALIGN:offset]))
    arrays = {}
    for name, dtype, shape in head["arrays"]:
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(body, dtype, count, offset).reshape(shape)
        offset += arrays[name].nbytes
    return arrays, head["facts"]


@cache
def _code_hash() -> str:
    files = [Path(__file__).with_name(name) for name in _CODE] + [Path(str(schema.__file__))]
    return sha256_bytes(b"".join(file.read_bytes() for file in files))

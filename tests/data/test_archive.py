"""Archives from strangers: refused with bounded memory, whatever their headers say."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from contextlib import suppress

import pytest
from market_files import bars, vision_text, write_vision

from backtest.data.imports import ImportOptions, import_file
from backtest.data.sources.archive import read_member
from backtest.data.store import Lake
from backtest.errors import DataError

NAME = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2022-01.zip"


@pytest.fixture
def path(tmp_path):
    target = tmp_path / NAME
    target.parent.mkdir(parents=True)
    return target


def refuse(tmp_path, path, match, peak_mb=24):
    """Require that an import of the file fails, writes nothing and stays within a few megabytes."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=match):
            import_file(Lake(tmp_path / "lake"), path, ImportOptions())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < peak_mb * 1e6
    assert not list((tmp_path / "lake").rglob("*.parquet"))


def test_a_sound_archive_is_read(path):
    text = vision_text(bars())
    assert read_member(write_vision(path, text), "BTCUSDT-1h-2022-01.csv").decode() == text


def test_a_bomb_is_refused(tmp_path, path):
    write_vision(path, b"0,0\n" * 50_000_000)
    assert path.stat().st_size < 400_000
    refuse(tmp_path, path, "more than 100 times its size", peak_mb=60)


def test_a_line_without_end_is_refused(tmp_path, path):
    write_vision(path, b"0" * 200_000_000)
    refuse(tmp_path, path, "line longer than")


def test_more_bytes_than_the_cap_are_refused(path):
    write_vision(path, vision_text(bars(1000)))
    with pytest.raises(DataError, match="more than 1000 bytes"):
        read_member(path, None, max_bytes=1000)


@pytest.mark.parametrize(
    "member",
    ["../BTCUSDT-1h-2022-01.csv", "/etc/passwd", "x.csv", "a/BTCUSDT-1h-2022-01.csv", "BTCUSDT-1h-2022-01.CSV"],
)
def test_a_member_of_another_name_is_refused_and_nothing_is_extracted(tmp_path, path, member):
    write_vision(path, vision_text(bars()), member)
    refuse(tmp_path, path, "wanted 'BTCUSDT-1h-2022-01.csv'")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("extra", ["readme.txt", "BTCUSDT-1h-2022-01.csv"])
def test_more_than_one_member_is_refused(tmp_path, path, extra):
    write_vision(path, vision_text(bars()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(extra, "x")
    refuse(tmp_path, path, "holds 2 files")


def test_an_empty_archive_is_refused(tmp_path, path):
    with zipfile.ZipFile(path, "w"):
        pass
    refuse(tmp_path, path, "holds 0 files")


@pytest.mark.parametrize("said", [1, 50, 10**6, 2**32 - 2])
def test_a_header_that_lies_about_the_size_is_refused(tmp_path, path, said):
    write_vision(path, vision_text(bars()))
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", said)
    content[22:26] = struct.pack("<I", said)
    path.write_bytes(content)
    refuse(tmp_path, path, "not a sound zip file|is not sound CSV|unpacks")


@pytest.mark.parametrize("cut", [0, 1, 0.3, 0.9, -1])
def test_a_cut_archive_is_refused(tmp_path, path, cut):
    content = write_vision(path, vision_text(bars())).read_bytes()
    path.write_bytes(content[: int(cut * len(content)) if 0 < cut < 1 else int(cut)])
    refuse(tmp_path, path, "not a sound zip file")


def test_a_web_page_in_place_of_an_archive_is_refused(tmp_path, path):
    path.write_text("<html>not found</html>")
    refuse(tmp_path, path, "not a sound zip file")


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_the_packed_text_is_refused_or_changes_nothing(path, seed):
    text = vision_text(bars())
    content = bytearray(write_vision(path, text).read_bytes())
    start, stop = 30 + len(path.stem) + 4, content.rfind(b"PK\x01\x02")
    content[start + (seed * 7919) % (stop - start)] ^= 1 << seed % 8
    path.write_bytes(content)
    with suppress(DataError):
        assert read_member(path, None).decode() == text


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_refused(tmp_path, path, method):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("BTCUSDT-1h-2022-01.csv", vision_text(bars()))
    refuse(tmp_path, path, "compression other than deflate")

"""Peak memory and rows a second of `zoo.extract_shards`, where the rows are many times as many.

    python benchmarks/shards.py PHOTOS [ROWS]

PHOTOS is a folder of images, ROWS the smallest number of rows (500). Its images are repeated to 1, 10 and 30 times as
many rows, all in one shard: a tar, and a Parquet file with a single row group. Each is extracted in a process of its
own by `starter/glyph-cnn`, with two decoding threads, and the Parquet files also by `zoo.extract`, which holds all rows
and looks at every file before it begins. Printed are peak resident memory above that of the process with the
backbone loaded, and rows a second of the extraction alone.
"""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import harness
import pyarrow as pa
import pyarrow.parquet as pq

TIMES = (1, 10, 30)

CHILD = """
import json, re, sys, time
import zoo
from zoo.verbs.extract_shards import extract_shards

how, data, out, few = sys.argv[1:]
backbone = zoo.load("starter/glyph-cnn")
# Not ru_maxrss, which begins with that of the process that started this one.
peak = lambda: int(re.search("VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
extract_shards(backbone, few, out + "-few", threads=2)  # what libraries and kernels take is no memory of rows
before, start = peak(), time.perf_counter()
if how == "memory":
    rows = len(zoo.extract(backbone, data, cache=False).ids)
else:
    rows = extract_shards(backbone, data, out, threads=2).rows
print(json.dumps({"rows": rows, "before": before, "peak": peak(), "seconds": time.perf_counter() - start}))
"""


def write_tar(path: Path, photos: list[Path], rows: int) -> None:
    """The photos again and again, with a label each."""
    with tarfile.open(path, "w") as tar:
        for row, photo in enumerate(itertools.islice(itertools.cycle(photos), rows)):
            for ending, raw in (("jpg", photo.read_bytes()), ("cls", str(row % 2).encode())):
                info = tarfile.TarInfo(f"{row:08d}.{ending}")
                info.size = len(raw)
                tar.addfile(info, io.BytesIO(raw))


def write_parquet(path: Path, photos: list[Path], rows: int) -> None:
    """The same rows in one row group."""
    images = [{"bytes": photo.read_bytes(), "path": None} for photo in photos]
    chosen = list(itertools.islice(itertools.cycle(images), rows))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array(chosen, kind)
    assert isinstance(column, pa.Array), "more than 2 GB: give fewer rows"
    table = pa.table({"image": column, "label": [row % 2 for row in range(rows)]})
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False)


def measure(how: str, data: Path, out: Path, few: Path) -> dict[str, float]:
    """Rows, seconds, and peak memory in MB, of a process of its own."""
    words = [sys.executable, "-c", CHILD, how, str(data), str(out), str(few)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(folder: Path, rows: int) -> None:
    """Write the shards, measure, print the table."""
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    rows_found: list[dict[str, Any]] = []
    print("| rows | how | MB of data | peak above start, MB | rows/s |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        few = top / "few.tar"
        write_tar(few, photos, 64)
        for times in TIMES:
            for kind, write in (("tar", write_tar), ("parquet", write_parquet)):
                path = top / f"{times}.{kind}"
                write(path, photos, rows * times)
                hows = ["shards", "memory"] if kind == "parquet" else ["shards"]
                for how in hows:
                    found = measure(how, path, top / f"{times}-{kind}-{how}", few)
                    name = "zoo.extract, Parquet" if how == "memory" else f"zoo.extract_shards, {kind}"
                    size = path.stat().st_size / 2**20
                    more, speed = found["peak"] - found["before"], found["rows"] / found["seconds"]
                    print(f"| {found['rows']:,} | {name} | {size:,.0f} | {more:,.0f} | {speed:.0f} |", flush=True)
                    rows_found.append(
                        {"rows": found["rows"], "how": name, "mb": size, "peak_mib": more, "speed": speed}
                    )
                path.unlink()
    harness.keep("shards", [], rows=rows_found, setting=harness.Setting((), 2, "cpu"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500)

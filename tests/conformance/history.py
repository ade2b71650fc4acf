"""Puts a recorded household's past into a meter's database, as if the meter had run all the time."""
import sqlite3
import time
from pathlib import Path

from harness import ROOT

DATA = ROOT / "tests/data/forecast"


def samples(name="synth_pv_2s_2d.csv", repeat=1):
    """Power, W, one value each 2 s; `repeat` puts the recording behind itself."""
    lines = (DATA / name if "/" not in str(name) else Path(name)).read_text().splitlines()
    return [round(float(line.split(",")[-1]) * 10) for line in lines if line and not line.startswith(("#", "ts"))] * repeat


def seed(database, values, until=None, step=2):
    """Write `values` (0.1 W) as samples and minute means that end at `until` (now)."""
    end = int(until or time.time()) // 60 * 60
    begin = (end - step * len(values)) // 60 * 60
    per = 60 // step
    with sqlite3.connect(database) as db:
        db.executemany("INSERT OR REPLACE INTO s2(ts, w) VALUES(?, ?)", ((begin + step * i, w) for i, w in enumerate(values)))
        minutes = (values[i:i + per] for i in range(0, len(values), per))
        rows = ((begin + 60 * i, round(sum(m) / len(m)), min(m), max(m), len(m)) for i, m in enumerate(minutes))
        db.executemany("INSERT OR REPLACE INTO m1(ts, w, mn, mx, n) VALUES(?, ?, ?, ?, ?)", rows)
    db.close()
    return len(values)

"""A month of a household with solar panels, put into the database of an app that is not running."""
import math
import random
import sqlite3
import time


def watts(ts, dice):
    """Grid power at a time: sun by day, an evening's cooking, a cloud now and then."""
    hour, day = (ts / 3600 + 1) % 24, random.Random(ts // 86400)
    sun = max(0.0, 1 - ((hour - 13) / 4.5) ** 2) * day.uniform(300, 3000)
    evening = day.uniform(400, 1800) * max(0.0, 1 - ((hour - 19.5) / 2.5) ** 2)
    kettle = 1900 if dice.random() < 0.008 else 0
    return 310 + evening - sun * dice.uniform(0.75, 1) + kettle + dice.gauss(0, 60)


def fill(data, days=31):
    """Minute means, samples of the last hour, and energy by the quarter hour, up to now."""
    dice, now = random.Random(11), int(time.time())
    means, energy = [], {}
    for ts in range((now - days * 86400) // 60 * 60, now - 3600, 60):
        w = watts(ts, dice)
        means.append((ts, round(w * 10), round(w * 10) - dice.randrange(900), round(w * 10) + dice.randrange(900), 60))
        way = energy.setdefault(ts // 900 * 900, [0.0, 0.0])
        way[w < 0] += abs(w) / 60
    recent = range((now - 3600) // 60 * 60, now // 60 * 60, 60)
    samples = [(ts, round(10 * (430 + 90 * math.sin(ts / 70) + dice.gauss(0, 15) + (1900 if 1500 < now - ts < 1750 else 0))))
               for ts in range(now - 3600, now - 1)]
    for ts in recent:
        w = [w for at, w in samples if ts <= at < ts + 60]
        means.append((ts, round(sum(w) / len(w)), min(w), max(w), len(w))) if w else None
    quarters = [(1, ts, i * 0.5, e * 0.5, i * 0.3, e * 0.3, i * 0.2, e * 0.2) for ts, (i, e) in energy.items()]
    with sqlite3.connect(data / "virtual-shelly.db") as database:
        database.executemany("INSERT OR REPLACE INTO m1(ts, w, mn, mx, n) VALUES (?, ?, ?, ?, ?)", means)
        database.executemany("INSERT OR REPLACE INTO s2(ts, w) VALUES (?, ?)", samples)
        database.executemany("INSERT OR REPLACE INTO quarters VALUES (?, ?, ?, ?, ?, ?, ?, ?)", quarters)
        total = [sum(way) for way in zip(*energy.values())]
        database.execute("UPDATE meters SET a_import = ?, b_import = ?, c_import = ?, a_export = ?, b_export = ?, c_export = ? WHERE id = 1",
                         [e * part for e in total for part in (0.5, 0.3, 0.2)])
    database.close()
    (data / "meter.json").unlink()  # the same counters once more, of before

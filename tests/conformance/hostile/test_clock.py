"""The host's clock is wrong by centuries: a battery that died, a bit that flipped. Nothing may panic, and what is read stays right."""
import contextlib
import json
import shutil
import subprocess

import pytest

from conftest import reading
from harness import fetch, until

# Read instead of the host's wall clock by the process that has it preloaded.
SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long offset(void) {
    const char *text = getenv("CLOCK_OFFSET");
    return text ? atoll(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    if (syscall(SYS_clock_gettime, id, at)) return -1;
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) at->tv_sec += offset();
    return 0;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
YEAR = 31_556_952
# Beyond it the header has no form.
LAST = "Fri, 31 Dec 9999 23:59:59 GMT"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", folder / "clock.so", folder / "clock.c"], check=True)
    return folder / "clock.so"


PATHS = ["/", "/energy", "/readers", "/forecast", "/health", "/settings", "/chart.json?range=3m", "/chart.json?range=30d", "/energy.json",
         "/readers.json", "/forecast.json", "/health.json", "/live.json", "/diagnostics", "/admin/overview", "/ui/power", "/healthz", "/metrics"]
CALLS = [("Shelly.GetStatus", {}), ("Sys.GetStatus", {}), ("Sys.GetConfig", {}), ("EM.GetStatus", {"id": 0}), ("EMData.GetStatus", {"id": 0}),
         ("EMData.GetRecords", {"id": 0}), ("EMData.GetData", {"id": 0, "ts": 0}), ("EMData.GetNetEnergies", {"id": 0, "ts": 0, "period": 300}),
         ("KVS.Set", {"key": "a", "value": 1}), ("EMData.ResetCounters", {"id": 0})]


@pytest.mark.parametrize(("name", "years"), [("year 10100", 8074), ("year 9999 to 10000 within the run", None), ("year 2300", 274),
                                             ("year 1970", -56), ("before 1970", -80), ("the end of 64 bits", 290_000_000_000)])
def test_a_clock_that_is_wrong_by_centuries(new_meter, fake_ha, shim, name, years, row):
    fake_ha.set("sensor.grid", "512")
    now = int(subprocess.run(["date", "+%s"], check=True, capture_output=True, text=True).stdout)
    offset = 253_402_300_800 - now - 4 if years is None else years * YEAR
    if name == "year 1970":
        offset = 60 - now
    env = {"LD_PRELOAD": str(shim), "CLOCK_OFFSET": str(offset)}
    meter = new_meter({"total_power": "sensor.grid", "store_interval": 10}, ha=fake_ha, env=env).start()
    meter.until_total(512, 10)
    with reading(meter) as good:
        for path in PATHS:
            answer = fetch(meter.dashboard_port, "GET", path, timeout=20)
            assert answer.status == 200, (path, answer)
        for method, params in CALLS:
            answer = meter.post(f"/rpc/{method}", params, timeout=20)
            assert answer.status == 200, (method, answer)
        for path in ("/shelly", "/healthz", "/metrics", "/emdata/0/data.csv", "/"):
            answer = meter.get(path, timeout=20)
            assert answer.status == 200, (path, answer)
        if years is None:
            until(lambda: meter.get("/shelly").headers["date"] == LAST, 15, "the header's last date")
        fake_ha.set("sensor.grid", "700")
        meter.until_total(700, 10)
    row(no=18, case=f"the clock: {name}", **good.cells(), note="date " + meter.get("/shelly").headers["date"])
    good.check()
    meter.restart()
    meter.until_total(700, 10)
    assert "panicked" not in meter.log()
    with contextlib.suppress(json.JSONDecodeError):
        assert meter.get("/healthz").json()["status"] in ("ok", "degraded")

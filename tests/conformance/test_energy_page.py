"""Our page Energy beside Home Assistant's own: what it counts and what that costs, by its own energy platform and its statistics."""
import re
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ha_up import HomeAssistant
from harness import fetch, free_port, until
from ingress_world import ask_ha

# Statistics of the five minutes that are under way, which Home Assistant makes by itself only when they are over.
STATISTICS = """
from datetime import timedelta

from homeassistant.components.recorder import get_instance
from homeassistant.components.recorder.db_schema import Statistics, StatisticsRuns, StatisticsShortTerm
from homeassistant.components.recorder.tasks import StatisticsTask
from homeassistant.components.recorder.util import session_scope
from homeassistant.util import dt

async def async_setup(hass, config):
    async def make(call):
        recorder = get_instance(hass)
        await recorder.async_block_till_done()
        at = dt.utcnow().replace(second=0, microsecond=0)
        at -= timedelta(minutes=at.minute % 5)
        hour = at.replace(minute=0)
        def again():
            with session_scope(hass=hass) as session:
                session.query(StatisticsRuns).filter(StatisticsRuns.start >= at).delete()
                session.query(StatisticsShortTerm).filter(StatisticsShortTerm.start_ts >= at.timestamp()).delete()
                if at.minute == 55:  # they end with the hour's, which cannot be made twice
                    session.query(Statistics).filter(Statistics.start_ts >= hour.timestamp()).delete()
        await recorder.async_add_executor_job(again)
        for start in (at - timedelta(minutes=5), at):
            recorder.queue_task(StatisticsTask(start, False))
        await recorder.async_block_till_done()
    hass.services.async_register("statistics_now", "make", make)
    return True
"""


class Core(HomeAssistant):
    def write(self):
        super().write()
        own = self.folder / "custom_components/statistics_now"
        own.mkdir(parents=True, exist_ok=True)
        (own / "__init__.py").write_text(STATISTICS)
        (own / "manifest.json").write_text('{"domain": "statistics_now", "name": "Statistics now", "version": "1.0", "documentation": "", "codeowners": []}')
        with open(self.folder / "configuration.yaml", "a") as file:
            file.write("statistics_now:\n")


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    one = Core(tmp_path_factory.mktemp("core"), free_port(), lifetime=1800)
    one.start()
    yield one
    one.stop()


def grid(counter, price, back=None, brings=None, paid=None):
    """A connection to the grid: a price is a number, or the entity that says it; or the statistic of what was paid."""
    def of(price, name):
        return {f"entity_energy_price{name}": price if isinstance(price, str) else None,
                f"number_energy_price{name}": price if isinstance(price, float) else None}
    return {"type": "grid", "stat_energy_from": counter, "stat_energy_to": back, "stat_cost": paid, "stat_compensation": None,
            "cost_adjustment_day": 0.0, **of(price, ""), **of(brings, "_export")}


def counter(core, entity, kwh, name):
    core.state(entity, kwh, "kWh", device_class="energy", state_class="total_increasing", friendly_name=name)


def energy_page(core, *counters):
    """What Home Assistant's Energy page shows of today: kWh and money of each counter, from the statistics of both."""
    assert core.rest("POST", "/api/services/statistics_now/make", {})[0] == 200
    money = ask_ha(core, ("energy/info", {}))["cost_sensors"]
    midnight = datetime.now(ZoneInfo("Europe/Amsterdam")).replace(hour=0, minute=0, second=0, microsecond=0)
    found = ask_ha(core, ("recorder/statistics_during_period", {
        "start_time": midnight.isoformat(), "period": "5minute", "types": ["change"], "units": {"energy": "kWh"},
        "statistic_ids": [*counters, *(money[c] for c in counters)]}))

    def today(statistic):
        return sum(row["change"] or 0 for row in found.get(statistic, ()))
    return {c: (today(c), today(money[c])) for c in counters}


def ours(meter):
    """Today on our page."""
    return fetch(meter.dashboard_port, "GET", "/energy.json").json()["days"][-1]


def early_in_a_quarter():
    """Prices are kept by the quarter of an hour: what grows near its end may be seen in the next one."""
    until(lambda: time.time() % 900 < 720, 200)


def flow(core, watts, entity, kwh, name, seconds=15):
    """So much power for some seconds, and a counter that counts it, as a smart meter's; what it says at the end."""
    def say(watts):
        """The moment in which Home Assistant had it, whenever its answer comes back here."""
        core.set(grid_power=watts)
        state = until(lambda: float((one := core.read("sensor.grid_power"))["state"]) == watts and one, 10)
        return datetime.fromisoformat(state["last_changed"]).timestamp()
    began = say(watts)
    while (gone := time.time() - began) < seconds:
        counter(core, entity, kwh + abs(watts) * gone / 3.6e6, name)
        time.sleep(0.4)
    kwh += abs(watts) * (say(0) - began) / 3.6e6
    counter(core, entity, kwh, name)
    return kwh


@pytest.fixture
def paid(core, new_meter):
    """A meter that reads the power, at Home Assistant's Energy settings."""
    def start(counters, *sources, **options):
        ask_ha(core, ("energy/save_prefs", {"energy_sources": list(sources), "device_consumption": []}))
        until(lambda: len(ask_ha(core, ("energy/info", {}))["cost_sensors"]) == counters, 20)
        core.set(grid_power=0)
        meter = new_meter({"total_power": "sensor.grid_power", **options}, ha=core).start()
        meter.until_total(0, 10)
        return meter
    yield start
    ask_ha(core, ("energy/save_prefs", {"energy_sources": [], "device_consumption": []}))


def close(a, b):
    return a == pytest.approx(b, rel=0.01)


@pytest.mark.timeout(480)
@pytest.mark.parametrize("price, brings", [(0.31, 0.08), ("sensor.price", "sensor.brings")], ids=["fixed", "by-entity"])
def test_kwh_and_money_of_today_are_those_of_home_assistant(core, paid, price, brings):
    drawn, fed = ((f"sensor.{way}_{'fixed' if isinstance(price, float) else 'told'}") for way in ("drawn", "fed"))
    counter(core, drawn, 1000, "Drawn")
    counter(core, fed, 500, "Fed in")
    core.state("sensor.price", 0.2875, "EUR/kWh", device_class="monetary")
    core.state("sensor.brings", 64.5, "EUR/MWh", device_class="monetary")
    early_in_a_quarter()
    meter = paid(2, grid(drawn, price, fed, brings))
    flow(core, 300_000, drawn, 1000, "Drawn")
    flow(core, -200_000, fed, 500, "Fed in")
    theirs = energy_page(core, drawn, fed)
    assert theirs[drawn][0] > 1.2 and theirs[fed][0] > 0.8 and min(theirs[drawn][1], theirs[fed][1]) > 0.05, theirs
    today = until(lambda: (day := ours(meter))["export_wh"] > 990 * theirs[fed][0] and "cost" in day and "income" in day and day, 130, "the minute is over")
    assert close(today["import_wh"] / 1000, theirs[drawn][0]) and close(today["export_wh"] / 1000, theirs[fed][0]), (today, theirs)
    assert close(today["cost"], theirs[drawn][1]) and close(today["income"], theirs[fed][1]), (today, theirs)
    page = fetch(meter.dashboard_port, "GET", "/energy").text
    assert f"{today['cost']:.2f}\u202f€" in page and f"{today['income']:.2f}\u202f€" in page


@pytest.mark.timeout(480)  # a quarter of an hour has to begin, and prices are looked at once a minute
def test_two_tariffs_are_named_and_come_to_what_home_assistant_says(core, paid):
    day, night = "sensor.day_counter", "sensor.night_counter"
    counter(core, day, 2000, "Day counter")
    counter(core, night, 3000, "Night counter")
    early_in_a_quarter()
    meter = paid(2, grid(day, 0.32), grid(night, 0.215))

    def page():
        return re.sub(r"<[^>]*>", " ", fetch(meter.dashboard_port, "GET", "/energy").text)
    until(lambda: "Night counter" in page(), 20, "prices were looked at")
    # From one to the other within a quarter of an hour.
    flow(core, 300_000, day, 2000, "Day counter", 20)
    flow(core, 300_000, night, 3000, "Night counter", 10)
    theirs = energy_page(core, day, night)
    assert theirs[day][0] > 1.6 and theirs[night][0] > 0.8, theirs
    money = theirs[day][1] + theirs[night][1]
    assert close(money, theirs[day][0] * 0.32 + theirs[night][0] * 0.215)
    today = until(lambda: (d := ours(meter))["import_wh"] > 990 * (theirs[day][0] + theirs[night][0]) and close(d.get("cost"), money) and d, 130,
                  "the minute is over, and prices were looked at")
    assert close(today["import_wh"] / 1000, theirs[day][0] + theirs[night][0])
    text = page()
    for name, entity, price, (kwh, cost) in (("Day counter", day, "0.32", theirs[day]), ("Night counter", night, "0.215", theirs[night])):
        row = re.search(rf"{name}\s+From grid · {entity} · {price}\u202f€/kWh\s+{kwh:.1f}\s*&#8239;\s*kWh\s+{cost:.2f}\u202f€", text)
        assert row, re.sub(r"\s+", " ", text[text.find("Tariffs"):])[:400]
    assert re.search(rf"Cost\s+{money:.2f}\u202f€", text), "and their sum"


@pytest.mark.timeout(480)
def test_followed_counters_are_the_days_whatever_the_power_says(core, paid):
    drawn, fed = "sensor.drawn_counted", "sensor.fed_counted"
    counter(core, drawn, 1000, "Drawn")
    counter(core, fed, 500, "Fed in")
    early_in_a_quarter()
    meter = paid(2, grid(drawn, 0.31, fed, 0.08), energy_source="entities", energy_import=drawn, energy_export=fed)
    until(lambda: fetch(meter.dashboard_port, "GET", "/energy").text.count("1,000.0") > 0, 20, "the counters stand where the entities do")
    core.set(grid_power=1000)  # half an hour's worth would be needed for what they say, by hundredths of a kWh
    for hundredths in range(1, 42):
        counter(core, drawn, 1000 + hundredths / 100, "Drawn")
        counter(core, fed, 500 + hundredths / 200, "Fed in")
    theirs = energy_page(core, drawn, fed)
    assert theirs[drawn][0] == pytest.approx(0.41) and theirs[fed][0] == pytest.approx(0.205), theirs
    today = until(lambda: (day := ours(meter))["import_wh"] > 400 and "cost" in day and "income" in day and day, 130, "the minute is over")
    assert close(today["import_wh"], 410) and close(today["export_wh"], 205) and today["device_import_wh"] == today["import_wh"], today
    assert close(today["cost"], theirs[drawn][1]) and close(today["income"], theirs[fed][1]), (today, theirs)
    assert "Days and months are those of your energy entities" in fetch(meter.dashboard_port, "GET", "/energy").text


def bring(core, statistic, name, unit, hours):
    """Statistics without an entity, as Tibber's integration brings them: what each hour added, this one last."""
    start = datetime.now(ZoneInfo("UTC")).replace(minute=0, second=0, microsecond=0).timestamp() - 3600 * (len(hours) - 1)
    stats = [{"start": datetime.fromtimestamp(start + 3600 * n, ZoneInfo("UTC")).isoformat(), "sum": sum(hours[:n + 1]), "state": added}
             for n, added in enumerate(hours)]
    ask_ha(core, ("recorder/import_statistics", {"stats": stats, "metadata": {
        "has_mean": False, "mean_type": 0, "has_sum": True, "name": name, "source": statistic.split(":")[0], "statistic_id": statistic,
        "unit_class": "energy" if unit == "kWh" else None, "unit_of_measurement": unit}}))
    found = {"start_time": datetime.fromtimestamp(start, ZoneInfo("UTC")).isoformat(), "period": "hour", "types": ["change"], "statistic_ids": [statistic]}
    until(lambda: len(ask_ha(core, ("recorder/statistics_during_period", found)).get(statistic, ())) == len(hours), 20, "the recorder has them")


@pytest.mark.timeout(480)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside-another"])
def test_what_was_paid_by_a_statistic_without_an_entity_is_the_price_of_its_hours(core, paid, beside):
    bring(core, "tibber:used", "Tibber consumption", "kWh", [5.0, 1.0, 2.0])
    bring(core, "tibber:paid", "Tibber cost", "EUR", [5.0, 0.2, 0.7])
    counter(core, "sensor.pump_energy", 100, "Heat pump")
    early_in_a_quarter()
    others = [grid("sensor.pump_energy", 0.2)] if beside else []
    meter = paid(len(others), grid("tibber:used", None, paid="tibber:paid"), *others)
    flow(core, 300_000, "sensor.unused_counter", 10, "Unused", 10)
    today = until(lambda: (day := ours(meter))["import_wh"] > 700 and "cost" in day and day, 130, "the minute is over")
    assert close(today["cost"], today["import_wh"] / 1000 * 0.35), today
    text = re.sub(r"<[^>]*>", " ", fetch(meter.dashboard_port, "GET", "/energy").text)
    assert "Home Assistant says later what was paid: up to " in text
    assert ("Tariffs" in text) == beside
    if beside:
        started = datetime.now(ZoneInfo("Europe/Amsterdam")).hour  # hours of today that were brought
        kwh, cost = {0: (2.0, 0.7), 1: (3.0, 0.9)}.get(started, (8.0, 5.9))
        row = re.search(rf"Tibber consumption\s+From grid · tibber:used\s+{kwh:.1f}\s*&#8239;\s*kWh\s+{cost:.2f}\u202f€", text)
        assert row, re.sub(r"\s+", " ", text[text.find("Tariffs"):])[:400]
        assert "Of Heat pump Home Assistant has no reading" in text

"""The forecast in the running service: trained on what the store holds, asked, scored, kept over a restart."""
import json
import sqlite3
import time

import pytest

from harness import fetch, near, until
from history import samples, seed

# Two days at 2 s, as the service samples.
HOUSE = samples()


def power(meter):
    return fetch(meter.dashboard_port, "GET", "/ui/power").json()


def model(meter):
    return power(meter)["model"]


def train(meter, **headers):
    return fetch(meter.dashboard_port, "POST", "/ui/train", headers=headers)


@pytest.fixture
def house(new_meter):
    """A meter with the demo household whose database holds a past: `house(values, **options)`."""
    def start(values, **options):
        meter = new_meter({"forecast_cpu": 100, **options}, args=["--source", "demo"]).start()
        meter.stop()
        if values:
            seed(meter.data / "virtual-shelly.db", values)
        return meter.start()
    return start


def later_than(stamp):
    """Stamps of trainings are whole seconds: the next one is to have another."""
    until(lambda: time.time() >= stamp + 1, 5, "the next second")


def trained(meter, after=0, seconds=180):
    return until(lambda: (m := model(meter))["training"] is None and (m["trained_at"] or 0) > after and m, seconds, "trained")


def test_too_few_samples_are_an_error_at_once(house):
    meter = house([])
    answer = train(meter)
    assert answer.status == 400
    said = answer.json()
    assert said["ok"] is False and "too few samples" in said["error"] and "60 needed" in said["error"]
    assert "forecast training skipped: too few samples" in until(lambda: "skipped" in meter.log() and meter.log(), 5)
    now = power(meter)
    assert now["forecast"] == [] and now["model"]["trained_at"] is None and now["model"]["horizons"] == []


def test_it_trains_at_start_speaks_and_says_how_good_it_is(house):
    meter = house(HOUSE * 2)
    found = trained(meter)
    assert found["dataset_total"] >= 2 * len(HOUSE)
    assert found["n"] > 1000 and found["mse"] > 0 and found["mae"] > 0 and found["baseline_mae"] > 0
    assert near(found["skill"], 1 - found["mae"] / found["baseline_mae"], 1e-6)
    assert found["basis"] == "back_test", "nothing was forecast by this process yet"
    assert [h["name"] for h in found["horizons"]] == ["minute", "quarter_hour", "day"]

    def spoken():
        now = power(meter)
        ahead = now["forecast"]
        return len(ahead) == 30 and abs(ahead[0]["ts"] - now["ts"]) < 10 and now
    now = until(spoken, 20, "30 steps from now on")
    steps = [b["ts"] - a["ts"] for a, b in zip(now["forecast"], now["forecast"][1:])]
    assert set(steps) == {2}
    minute = now["model"]["horizons"][0]["forecast"]
    assert all(near(a["w"], b["w"], 0.051) for a, b in zip(minute, now["forecast"], strict=True))
    assert all(p["lo"] is None or p["lo"] <= p["hi"] for p in minute)
    text = meter.get("/metrics").text
    for horizon in ("minute", "quarter_hour", "day"):
        assert f'virtual_shelly_forecast_mae_watts{{horizon="{horizon}"}}' in text
        assert f'virtual_shelly_forecast_model{{horizon="{horizon}",model=' in text
    assert 'virtual_shelly_forecast_power_watts{horizon="minute"}' in text and "virtual_shelly_forecast_training_seconds " in text
    log = meter.log()
    assert "forecast training starts (at start)" in log and "forecast trained: minute: " in log


def test_a_forecast_of_a_constant_is_the_constant(house):
    meter = house([5000] * 90_000, total_power="", forecast_interval=0.5)
    found = trained(meter)
    assert found["mae"] == 0.0 and found["mape"] == 0.0
    assert found["skill"] is None, "nothing can be closer than the last value is"


def test_by_hand_one_at_a_time_and_kept_over_a_restart(house):
    meter = house(HOUSE * 2, forecast_cpu=25)
    first = trained(meter)
    later_than(first["trained_at"])
    answer = train(meter)
    assert answer.status == 200 and answer.json()["ok"] is True, answer
    again = train(meter)
    assert again.status == 400 and "under way" in again.json()["error"]
    until(lambda: model(meter)["training"] is not None, 5)
    second = trained(meter, after=first["trained_at"])
    assert "forecast training starts (by hand)" in meter.log()
    meter.stop()

    meter.start()
    back = until(lambda: model(meter)["trained_at"] and model(meter), 30, "the models of the last run")
    assert back["trained_at"] >= second["trained_at"] and back["n"] > 1000
    assert "models of the last run speak on" in meter.log()
    # A stop in the middle of a training is quick, and loses neither model nor counters.
    until(lambda: (model(meter)["training"] or 0) > 0.02, 30, "the training at start")
    began = time.monotonic()
    meter.stop()
    assert time.monotonic() - began < 2
    meter.start()
    assert until(lambda: model(meter)["trained_at"], 30) >= second["trained_at"]
    # So is a crash.
    until(lambda: (model(meter)["training"] or 0) > 0.02, 30, "the training at start")
    meter.kill()
    meter.start()
    assert until(lambda: model(meter)["trained_at"], 30) >= second["trained_at"]
    last = trained(meter, after=second["trained_at"])
    assert last["mae"] > 0


def test_other_settings_make_other_models(house):
    meter = house(HOUSE, forecast_models=["last_value", "yesterday"], power_feature_window=10, forecast_horizon_steps=12,
                  forecast_metric="rmse")
    found = trained(meter)
    assert found["horizon"] == 12 and {h["model"] for h in found["horizons"]} <= {"last_value", "yesterday"}
    meter.stop()
    meter.options["forecast_horizon_steps"] = 15
    meter.start()
    until(lambda: "made for other settings" in meter.log(), 20)
    until(lambda: model(meter)["horizon"] == 15, 60)


def test_off_is_off(house):
    meter = house([], forecast_enable=False)
    answer = train(meter)
    assert answer.status == 400 and "forecast_enable" in answer.json()["error"]
    now = power(meter)
    assert now["forecast"] == [] and now["model"]["trained_at"] is None
    assert "forecast" not in meter.get("/metrics").text


def test_training_is_refused_from_another_site(house):
    meter = house([])
    answer = train(meter, **{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403, answer


def test_a_damaged_model_is_trained_anew(house):
    meter = house(HOUSE)
    first = trained(meter)
    meter.stop()
    with sqlite3.connect(meter.data / "virtual-shelly.db") as db:
        meta, blob = db.execute("SELECT meta, blob FROM models WHERE name = 'forecast'").fetchone()
        assert json.loads(meta)["trained_at"] == first["trained_at"]
        db.execute("UPDATE models SET blob = ?", (blob[:len(blob) // 2],))
    db.close()
    later_than(first["trained_at"])
    meter.start()
    until(lambda: "trained anew" in meter.log(), 20)
    assert trained(meter, after=first["trained_at"])["mae"] > 0


def test_a_past_that_comes_late(house):
    """Started without its data folder; once that is there, a training gives all horizons their past."""
    meter = house(HOUSE, forecast_models=["last_value", "yesterday", "climatology"])
    trained(meter)
    meter.stop()
    hidden = meter.data.rename(meter.folder / "hidden")
    meter.data.symlink_to("/proc")  # nobody can write there, not even root
    meter.start()
    assert model(meter)["dataset_total"] < 100 and train(meter).status == 400
    meter.data.unlink()
    hidden.rename(meter.data)
    until(lambda: "nothing is kept over a restart" not in str(meter.get("/healthz").json()["problems"]), 75, "the folder is used")
    until(lambda: model(meter)["training"] is None, 60)
    before = model(meter)["trained_at"] or 0
    later_than(before)
    assert train(meter).status == 200
    assert trained(meter, after=before)["dataset_total"] > len(HOUSE)
    until(lambda: [len(h["forecast"]) for h in model(meter)["horizons"]] == [30, 15, 96], 10, "each horizon has its line")

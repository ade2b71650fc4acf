//! What a kWh costs, and what one that is fed in brings, by Home Assistant's Energy settings: a
//! number, or an entity that says it.

use std::collections::HashMap;

use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::Value;

use super::{
    beside,
    energy_prefs::EnergyPrefs,
    home_assistant::{
        Access, Address,
        command::Command,
        end::End,
        frames::{Attributes, FullState},
        query::{self, QueryConnection, QueryError},
        rest::Rest,
    },
};
use config::SourceSettings;
use vocab::{EntityId, reason::Quantity};

/// Counters with prices of their own that are asked for.
const TARIFFS_MAX: usize = 16;

/// A price of the Energy settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Price {
    /// The same all the time, a kWh.
    Fixed(f64),
    /// What an entity says.
    Entity(EntityId),
}

/// A counter of the grid, and what a kWh costs that it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Its entity, or the name of a statistic that has none.
    pub counter: String,
    /// `None` where the settings name none.
    pub price: Option<Price>,
    /// The statistic of what that comes to in money: the settings name it in place of a price, or
    /// Home Assistant makes it of the price.
    pub money: Option<String>,
    /// What its owner calls it, where it is a statistic without an entity.
    pub name: Option<String>,
}

impl Rate {
    /// A statistic that something else than an entity brings, such as `tibber:energy_consumption`.
    fn is_external(&self) -> bool {
        self.counter.contains(':')
    }
}

/// The prices of the Energy settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    /// From the grid; `None` where there are several.
    pub import: Option<Price>,
    /// To the grid: what it brings.
    pub export: Option<Price>,
    /// The counters from the grid, where their prices differ: by day and by night, or a heat pump's.
    pub drawn: Vec<Rate>,
    /// The same to the grid.
    pub fed: Vec<Rate>,
    /// Whether what was drawn, and what was fed in, is paid by Home Assistant's statistics: where
    /// the settings name no price but what was paid, or one of several counters is no entity.
    pub by_hours: [bool; 2],
}

/// The same in the house's currency, at this moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// `EUR` …; `None` where Home Assistant does not say.
    pub currency: Option<String>,
    /// A kWh from the grid; `None` while nobody says.
    pub import: Option<f64>,
    /// A kWh to the grid.
    pub export: Option<f64>,
    /// Each price is a number of the settings: it holds for the past too, as nothing else is known
    /// of it.
    pub fixed: bool,
    /// Each of several counters with a price of its own; none where there is one price.
    pub tariffs: Vec<Tariff>,
    /// Where a side is paid by hours: until when (Unix s) all that pays it is known, 0: nothing is.
    pub until: Option<i64>,
}

/// One of several counters, at this moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tariff {
    /// Its entity.
    pub counter: String,
    /// What its owner calls it.
    pub name: String,
    /// Whether it counts what is fed in.
    pub fed: bool,
    /// A kWh of it; `None` while nobody says.
    pub price: Option<f64>,
    /// What it says, kWh; `None` where it says nothing, or is paid by its hours.
    pub kwh: Option<f64>,
    /// What it counted is by Home Assistant's statistics.
    pub by_hours: bool,
    /// What it counted today, yesterday and this month, as far as that is known.
    pub counted: [Counted; 3],
}

/// What a counter counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Energy, kWh.
    pub kwh: f64,
    /// What it cost or brought; of it what was counted without a price is not.
    pub money: f64,
}

/// Members of the settings that say of a counter what its kWh cost.
struct Names {
    counter: &'static str,
    entity: &'static str,
    number: &'static str,
    money: &'static str,
}

const DRAWN: Names = Names {
    counter: "stat_energy_from",
    entity: "entity_energy_price",
    number: "number_energy_price",
    money: "stat_cost",
};

/// Of what is fed in, in a flow of its own.
const FED: Names = Names {
    counter: "stat_energy_to",
    money: "stat_compensation",
    ..DRAWN
};

/// The same beside what is drawn.
const FED_BESIDE: Names = Names {
    entity: "entity_energy_price_export",
    number: "number_energy_price_export",
    ..FED
};

impl Names {
    fn rate(&self, of: &Value) -> Option<Rate> {
        let text = |name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Rate {
            counter: text(self.counter)?,
            price: self.price(of),
            money: text(self.money),
            name: None,
        })
    }

    fn price(&self, of: &Value) -> Option<Price> {
        let entity = of.get(self.entity).and_then(Value::as_str);
        if let Some(Ok(entity)) = entity.map(str::parse) {
            return Some(Price::Entity(entity));
        }
        let number = of.get(self.number).and_then(Value::as_f64);
        number.filter(|n| n.is_finite()).map(Price::Fixed)
    }
}

impl EnergyPrefs {
    /// The prices of the grid: of 2026.11's settings beside the counters, before in a list of
    /// flows.
    #[must_use]
    pub fn prices(&self) -> Prices {
        let (mut drawn, mut fed) = (Vec::new(), Vec::new());
        for source in self.grid_sources() {
            let flows = |key: &str| {
                source
                    .get(key)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
            };
            drawn.extend(DRAWN.rate(source));
            fed.extend(FED_BESIDE.rate(source));
            drawn.extend(flows("flow_from").filter_map(|flow| DRAWN.rate(flow)));
            fed.extend(flows("flow_to").filter_map(|flow| FED.rate(flow)));
        }
        let ((import, drawn, by_drawn), (export, fed, by_fed)) = (one(drawn), one(fed));
        Prices {
            import,
            export,
            drawn,
            fed,
            by_hours: [by_drawn, by_fed],
        }
    }
}

/// Of all counters of a side: its price where that is one, else the counters, and whether they are
/// paid by their hours.
fn one(all: Vec<Rate>) -> (Option<Price>, Vec<Rate>, bool) {
    let same = all.windows(2).all(|pair| pair[0].price == pair[1].price);
    if all.iter().any(|rate| rate.money.is_some()) || !same && all.iter().any(Rate::is_external) {
        (None, all, true)
    } else if same {
        let price = all.into_iter().next().and_then(|rate| rate.price);
        (price, vec![], false)
    } else {
        (None, all, false)
    }
}

impl Prices {
    /// The counters of a side that are paid by their hours.
    pub(super) fn hourly(&self, fed: bool) -> &[Rate] {
        let all = if fed { &self.fed } else { &self.drawn };
        if self.by_hours[usize::from(fed)] {
            &all[..all.len().min(TARIFFS_MAX)]
        } else {
            &[]
        }
    }
}

type State = FullState<Attributes>;

fn number(state: &State) -> Option<f64> {
    state.state.trim().parse().ok()
}

/// A counter's energy, kWh.
fn kwh_of(state: &State) -> Option<f64> {
    let (value, unit) = (number(state)?, state.attributes.unit()?);
    let mut known = Quantity::Energy.units().iter();
    let (_, wh) = known.find(|(name, _)| *name == unit)?;
    Some(value * wh / 1e3).filter(|kwh| kwh.is_finite())
}

/// A kWh: a unit that names no energy is taken for that, as Home Assistant does.
fn price_of(state: &State) -> Option<f64> {
    let price = number(state)?;
    let unit = state.attributes.unit().unwrap_or_default();
    let energy = unit.rsplit_once('/').map_or("kWh", |(_, energy)| energy);
    let per_kwh = match energy {
        "Wh" => price * 1e3,
        "MWh" => price / 1e3,
        "GWh" => price / 1e6,
        _ => price,
    };
    per_kwh.is_finite().then_some(per_kwh)
}

/// What the Energy settings say of prices; nothing where there are none.
///
/// # Errors
/// When Home Assistant cannot be asked.
pub async fn prices(settings: &SourceSettings, access: &Access) -> Result<Prices, QueryError> {
    query::ask(settings, access, |connection| read(connection).boxed()).await
}

async fn read(connection: &mut QueryConnection) -> Result<Prices, QueryError> {
    let prefs = connection.energy_prefs::<EnergyPrefs>().await??;
    let mut prices = prefs.map_or_else(Prices::default, |prefs| prefs.prices());
    let [drawn, fed] = prices.by_hours;
    let mut hourly: Vec<&mut Rate> = Vec::new();
    hourly.extend(prices.drawn.iter_mut().filter(|_| drawn));
    hourly.extend(prices.fed.iter_mut().filter(|_| fed));
    if hourly.is_empty() {
        return Ok(prices);
    }
    let info = connection.ask::<Info>("the costs' sensors", &Command::EnergyInfo);
    let info = info.await?.unwrap_or_default();
    for rate in &mut hourly {
        let made = info.cost_sensors.get(&rate.counter);
        rate.money = rate.money.take().or_else(|| made.cloned());
    }
    hourly.retain(|rate| rate.is_external());
    let ids: Vec<&str> = hourly.iter().map(|rate| &*rate.counter).collect();
    if ids.is_empty() {
        return Ok(prices);
    }
    let names = Command::StatisticNames {
        statistic_ids: &ids,
    };
    let named = connection.ask::<Vec<Named>>("the names of statistics", &names);
    let named: HashMap<String, Option<String>> = named
        .await?
        .unwrap_or_default()
        .into_iter()
        .map(|named| (named.statistic_id, named.name))
        .collect();
    for rate in hourly {
        rate.name = named.get(&rate.counter).cloned().flatten();
    }
    Ok(prices)
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    cost_sensors: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Named {
    statistic_id: String,
    #[serde(default)]
    name: Option<String>,
}

/// What these prices are now. What an entity does not say is not known.
pub async fn told(settings: &SourceSettings, access: &Access, prices: &Prices) -> Option<Told> {
    let addresses = Address::all(settings, access).ok()?;
    let prices = prices.clone();
    beside::ask(async move { tell(&addresses, &prices).await.ok() }).await
}

async fn tell(addresses: &[Address], prices: &Prices) -> Result<Told, End> {
    let (rest, config) = Rest::reach(addresses).await?;
    let state = async |entity: &EntityId| -> Result<Option<State>, End> {
        rest.get_small(&format!("states/{entity}")).await
    };
    let now = async |price: &Option<Price>| -> Result<Option<f64>, End> {
        Ok(match price {
            None => None,
            Some(Price::Fixed(price)) => Some(*price),
            Some(Price::Entity(entity)) => state(entity).await?.as_ref().and_then(price_of),
        })
    };
    let fixed = |price: &Option<Price>| !matches!(price, Some(Price::Entity(_)));
    let drawn = several(&prices.drawn).iter().map(|rate| (rate, false));
    let fed = several(&prices.fed).iter().map(|rate| (rate, true));
    let mut tariffs = Vec::new();
    for (rate, fed) in drawn.chain(fed).take(TARIFFS_MAX) {
        let by_hours = prices.by_hours[usize::from(fed)];
        // A statistic without an entity says nothing by itself.
        let counter = match rate.counter.parse() {
            Ok(entity) => state(&entity).await?,
            Err(_) => None,
        };
        let kwh = counter.as_ref().and_then(kwh_of).filter(|_| !by_hours);
        let named = counter
            .as_ref()
            .and_then(|state| state.attributes.friendly_name());
        let name = named.or(rate.name.as_deref()).unwrap_or(&rate.counter);
        tariffs.push(Tariff {
            counter: rate.counter.clone(),
            name: name.to_owned(),
            fed,
            price: now(&rate.price).await?,
            kwh,
            by_hours,
            counted: Default::default(),
        });
    }
    Ok(Told {
        currency: config.currency,
        import: now(&prices.import).await?,
        export: now(&prices.export).await?,
        fixed: fixed(&prices.import) && fixed(&prices.export) && prices.by_hours == [false; 2],
        tariffs,
        until: None,
    })
}

/// One counter alone needs no name: it is the house's.
fn several(all: &[Rate]) -> &[Rate] {
    if all.len() > 1 { all } else { &[] }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub fn prices(text: &str) -> Prices {
        let all = format!(r#"{{"energy_sources":[{text}]}}"#);
        serde_json::from_str::<EnergyPrefs>(&all).unwrap().prices()
    }

    #[test]
    fn all_shapes_say_the_same() {
        let want = Prices {
            import: Some(Price::Fixed(0.31)),
            export: Some(Price::Entity(EntityId::from_static("sensor.feed_in"))),
            ..Prices::default()
        };
        let flat = r#"{"type":"grid","stat_energy_from":"sensor.i","stat_energy_to":"sensor.e","stat_cost":null,
            "entity_energy_price":null,"number_energy_price":0.31,"stat_compensation":null,
            "entity_energy_price_export":"sensor.feed_in","number_energy_price_export":null}"#;
        assert_eq!(prices(flat), want);
        let flows = r#"{"type":"grid","flow_from":[{"stat_energy_from":"sensor.i","stat_cost":null,
            "entity_energy_price":null,"number_energy_price":0.31}],
            "flow_to":[{"stat_energy_to":"sensor.e","stat_compensation":null,
            "entity_energy_price":"sensor.feed_in","number_energy_price":null}]}"#;
        assert_eq!(prices(flows), want);
        assert_eq!(
            prices(r#"{"type":"solar","stat_energy_from":"sensor.s"}"#),
            Prices::default()
        );
        assert_eq!(
            prices(r#"{"type":"grid","stat_energy_from":"sensor.i"}"#),
            Prices::default()
        );
    }

    #[test]
    fn several_counters_keep_each_its_price() {
        let two = |a: &str, b: &str| {
            prices(&format!(
                r#"{{"type":"grid","flow_to":[],"flow_from":[{{"stat_energy_from":"sensor.t1","number_energy_price":{a}}},
                {{"stat_energy_from":"sensor.t2","number_energy_price":{b}}}]}}"#
            ))
        };
        let differs = two("0.3", "0.2");
        let rate = |counter: &str, price: f64| Rate {
            counter: counter.into(),
            price: Some(Price::Fixed(price)),
            money: None,
            name: None,
        };
        assert_eq!(differs.import, None);
        assert_eq!(
            differs.drawn,
            [rate("sensor.t1", 0.3), rate("sensor.t2", 0.2)]
        );
        let same = two("0.3", "0.3");
        assert_eq!((same.import, same.drawn), (Some(Price::Fixed(0.3)), vec![]));
        // The same as two connections of 2026.11; one price, and one that nobody says, are two.
        let flat = prices(
            r#"{"type":"grid","stat_energy_from":"sensor.t1","number_energy_price":0.3},
            {"type":"grid","stat_energy_from":"sensor.t2","stat_energy_to":"sensor.e","number_energy_price_export":0.08}"#,
        );
        assert_eq!(flat.drawn.len(), 2);
        assert_eq!((flat.export, flat.fed), (Some(Price::Fixed(0.08)), vec![]));
    }

    fn state(state: &str, unit: &str) -> State {
        let text = format!(
            r#"{{"state":"{state}","attributes":{{"unit_of_measurement":"{unit}","friendly_name":"Night"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_counter_says_its_kwh_and_its_name() {
        for (value, unit, kwh) in [
            ("12.5", "kWh", Some(12.5)),
            ("12500", "Wh", Some(12.5)),
            ("0.5", "MWh", Some(500.0)),
            ("36", "MJ", Some(10.0)),
            ("12", "m³", None),
            ("unknown", "kWh", None),
        ] {
            assert_eq!(kwh_of(&state(value, unit)), kwh, "{value} {unit}");
        }
        let attributes = state("1", "kWh").attributes;
        assert_eq!(attributes.friendly_name(), Some("Night"));
    }

    #[test]
    fn a_price_is_one_of_a_kwh() {
        for (value, unit, price) in [
            ("0.25", "EUR/kWh", Some(0.25)),
            ("250", "EUR/MWh", Some(0.25)),
            ("0.00025", "EUR/Wh", Some(0.25)),
            ("-0.02", "", Some(-0.02)),
            ("unavailable", "EUR/kWh", None),
        ] {
            assert_eq!(price_of(&state(value, unit)), price, "{value} {unit}");
        }
    }
}

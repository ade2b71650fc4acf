//! What a kWh costs, and what one that is fed in brings, by Home Assistant's Energy settings: a
//! number, or an entity that says it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    beside,
    energy_prefs::EnergyPrefs,
    home_assistant::{
        Access, Address,
        frames::{Outgoing, Unit},
        query::{QueryConnection, QueryError},
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

fn rate(of: &Value, names: &Names) -> Option<Rate> {
    let text = |name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Rate {
        counter: text(names.counter)?,
        price: price(of, names.entity, names.number),
        money: text(names.money),
        name: None,
    })
}

fn price(of: &Value, entity: &str, number: &str) -> Option<Price> {
    let entity = of.get(entity).and_then(Value::as_str);
    if let Some(Ok(entity)) = entity.map(str::parse) {
        return Some(Price::Entity(entity));
    }
    let number = of.get(number).and_then(Value::as_f64);
    number.filter(|n| n.is_finite()).map(Price::Fixed)
}

impl EnergyPrefs {
    /// The prices of the grid: of 2026.11's settings beside the counters, before in a list of
    /// flows.
    #[must_use]
    pub fn prices(&self) -> Prices {
        let list = |source: &Value, key: &str| -> Vec<Value> {
            let found = source.get(key).and_then(Value::as_array);
            found.cloned().unwrap_or_default()
        };
        let (mut drawn, mut fed): (Vec<Rate>, Vec<Rate>) = Default::default();
        for source in self.grid_sources() {
            drawn.extend(rate(source, &DRAWN));
            fed.extend(rate(source, &FED_BESIDE));
            drawn.extend(
                list(source, "flow_from")
                    .iter()
                    .filter_map(|flow| rate(flow, &DRAWN)),
            );
            fed.extend(
                list(source, "flow_to")
                    .iter()
                    .filter_map(|flow| rate(flow, &FED)),
            );
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
        (
            all.into_iter().next().and_then(|rate| rate.price),
            vec![],
            false,
        )
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

#[derive(Deserialize)]
struct State {
    state: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(flatten)]
    unit: Unit,
    #[serde(default)]
    friendly_name: Option<String>,
}

impl State {
    /// A counter's energy, kWh.
    fn kwh(&self) -> Option<f64> {
        let value: f64 = self.state.trim().parse().ok()?;
        let unit = self.attributes.unit.unit()?;
        let mut known = Quantity::Energy.units().iter();
        let (_, wh) = known.find(|(name, _)| *name == unit)?;
        Some(value * wh / 1e3).filter(|kwh| kwh.is_finite())
    }

    /// A kWh: a unit that names no energy is taken for that, as Home Assistant does.
    fn price(&self) -> Option<f64> {
        let price: f64 = self.state.trim().parse().ok()?;
        let unit = self.attributes.unit.unit().unwrap_or_default();
        let energy = unit.rsplit_once('/').map_or("kWh", |(_, energy)| energy);
        let per_kwh = match energy {
            "Wh" => price * 1e3,
            "MWh" => price / 1e3,
            "GWh" => price / 1e6,
            _ => price,
        };
        per_kwh.is_finite().then_some(per_kwh)
    }
}

#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    currency: Option<String>,
}

/// What the Energy settings say of prices; nothing where there are none.
///
/// # Errors
/// When Home Assistant cannot be asked.
pub async fn prices(settings: &SourceSettings, access: &Access) -> Result<Prices, QueryError> {
    let (address, cadence) = (Address::choose(settings, access)?, access.cadence);
    beside::ask(async move {
        let mut connection = QueryConnection::open(&address, &cadence).await?;
        let asked = read(&mut connection).await;
        connection.close().await;
        asked
    })
    .await
}

async fn read(connection: &mut QueryConnection) -> Result<Prices, QueryError> {
    let asked = connection
        .ask::<EnergyPrefs>("the Energy settings", |id| {
            Outgoing::GetPrefs { id }.frame()
        })
        .await?;
    let mut prices = match asked {
        Ok(prefs) => prefs.prices(),
        Err(QueryError::Failed {
            not_found: true, ..
        }) => return Ok(Prices::default()),
        Err(error) => return Err(error),
    };
    if prices.by_hours == [false; 2] {
        return Ok(prices);
    }
    let info = connection
        .ask::<Info>("the costs' sensors", |id| {
            Outgoing::EnergyInfo { id }.frame()
        })
        .await?
        .unwrap_or_default();
    let Prices {
        drawn,
        fed,
        by_hours,
        ..
    } = &mut prices;
    let hourly = [(by_hours[0], drawn), (by_hours[1], fed)].into_iter();
    let mut hourly: Vec<&mut Rate> = hourly
        .filter(|(by_hours, _)| *by_hours)
        .flat_map(|(_, all)| all)
        .collect();
    for rate in &mut hourly {
        let made = info.cost_sensors.get(&rate.counter);
        rate.money = rate.money.take().or_else(|| made.cloned());
    }
    let external = hourly.iter().filter(|rate| rate.is_external());
    let ids: Vec<String> = external.map(|rate| rate.counter.clone()).collect();
    let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
    if !ids.is_empty() {
        let named = connection
            .ask::<Vec<Named>>("the names of statistics", |id| {
                Outgoing::StatisticNames {
                    id,
                    statistic_ids: &ids,
                }
                .frame()
            })
            .await?
            .unwrap_or_default();
        for rate in hourly {
            let own = named
                .iter()
                .find(|named| named.statistic_id == rate.counter);
            rate.name = own.and_then(|named| named.name.clone());
        }
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
    let address = Address::choose(settings, access).ok()?;
    let prices = prices.clone();
    beside::ask(async move {
        let rest = Rest::new(&address).ok()?;
        let (of, _) = rest.get_small::<Settings>("config").await.ok()?;
        let state = async |entity: &EntityId| {
            let (found, _) = rest
                .get_small::<State>(&format!("states/{entity}"))
                .await
                .ok()?;
            Some(found)
        };
        let now = async |price: &Option<Price>| match price {
            None => Some(None),
            Some(Price::Fixed(price)) => Some(Some(*price)),
            Some(Price::Entity(entity)) => Some(state(entity).await?.and_then(|s| s.price())),
        };
        let fixed = |price: &Option<Price>| !matches!(price, Some(Price::Entity(_)));
        let mut tariffs = Vec::new();
        // One counter alone needs no name: it is the house's.
        let several = |all: &[Rate]| {
            if all.len() > 1 {
                all.to_vec()
            } else {
                Vec::new()
            }
        };
        let (drawn, fed) = (several(&prices.drawn), several(&prices.fed));
        let all = drawn.iter().map(|rate| (rate, false));
        for (rate, fed) in all
            .chain(fed.iter().map(|rate| (rate, true)))
            .take(TARIFFS_MAX)
        {
            let by_hours = prices.by_hours[usize::from(fed)];
            // A statistic without an entity says nothing by itself.
            let counter = match rate.counter.parse() {
                Ok(entity) => state(&entity).await?,
                Err(_) => None,
            };
            let kwh = counter.as_ref().and_then(State::kwh).filter(|_| !by_hours);
            let named = counter.and_then(|state| state.attributes.friendly_name);
            let name = named.or_else(|| rate.name.clone());
            tariffs.push(Tariff {
                counter: rate.counter.clone(),
                name: name.unwrap_or_else(|| rate.counter.clone()),
                fed,
                price: now(&rate.price).await?,
                kwh,
                by_hours,
                counted: Default::default(),
            });
        }
        Some(Told {
            currency: of.and_then(|of| of.currency),
            import: now(&prices.import).await?,
            export: now(&prices.export).await?,
            fixed: fixed(&prices.import) && fixed(&prices.export) && prices.by_hours == [false; 2],
            tariffs,
            until: None,
        })
    })
    .await
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

    #[test]
    fn a_counter_says_its_kwh_and_its_name() {
        let state = |state: &str, unit: &str| -> State {
            let text = format!(
                r#"{{"state":"{state}","attributes":{{"unit_of_measurement":"{unit}","friendly_name":"Night"}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(state("12.5", "kWh").kwh(), Some(12.5));
        assert_eq!(state("12500", "Wh").kwh(), Some(12.5));
        assert_eq!(state("0.5", "MWh").kwh(), Some(500.0));
        assert_eq!(state("36", "MJ").kwh(), Some(10.0));
        assert_eq!(state("12", "m³").kwh(), None);
        assert_eq!(state("unknown", "kWh").kwh(), None);
        assert_eq!(
            state("1", "kWh").attributes.friendly_name.as_deref(),
            Some("Night")
        );
    }

    #[test]
    fn a_price_is_one_of_a_kwh() {
        let price = |state: &str, unit: &str| {
            let text =
                format!(r#"{{"state":"{state}","attributes":{{"unit_of_measurement":"{unit}"}}}}"#);
            serde_json::from_str::<State>(&text).unwrap().price()
        };
        assert_eq!(price("0.25", "EUR/kWh"), Some(0.25));
        assert_eq!(price("250", "EUR/MWh"), Some(0.25));
        assert_eq!(price("0.00025", "EUR/Wh"), Some(0.25));
        assert_eq!(price("-0.02", ""), Some(-0.02));
        assert_eq!(price("unavailable", "EUR/kWh"), None);
    }
}

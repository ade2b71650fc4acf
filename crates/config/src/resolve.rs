//! From layers to one value an option, with the layer it came from; then to [`Settings`].

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    assemble, checks,
    definition::{Definition, Kind},
    definitions,
    inputs::LoadInputs,
    layers::{self, Gathered, Given},
    meter_values::{Meter, Secretly, Values, default_value},
    meters,
    problem::{Findings, Problem},
    readers,
    settings::{Inputs, Settings},
    value,
};
use vocab::{Layer, reason::Reason};

/// Everything that came of reading the options.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The validated settings. With problems they are what an app runs with; a plain run ends with
    /// [`super::EXIT_CONFIGURATION`].
    pub settings: Settings,
    /// The effective value of every option that is set or has a default, secrets as `***`. A port
    /// that the Network card switched off is null.
    pub values: Values,
    /// Where each value comes from; options without value are not in it.
    pub origin: BTreeMap<&'static str, Layer>,
    /// What is wrong, each once.
    pub problems: Vec<Problem>,
    /// What is worth a line in log, `/healthz` and page, and stops nothing.
    pub warnings: Vec<Reason>,
    /// Meters (by index in `settings.meters`) whose phases have to be absent, and why: a wrong
    /// value in an option of which a default could mean a wrong sign or size. Their inputs are
    /// empty, and nothing is set up by itself.
    pub absent_reasons: Vec<(usize, Reason)>,
    /// Under the Supervisor.
    pub app: bool,
    /// The values of each meter, secrets included.
    pub(super) meters: Secretly<Vec<Meter>>,
    /// The data folder.
    pub(super) data_dir: PathBuf,
}

impl Resolved {
    /// The key of the profile that set an option of the first meter, if one did.
    #[must_use]
    pub fn profile_of(&self, key: &str) -> Option<&'static str> {
        let first = self.meters.0.first()?;
        let (_, profile) = first.profiles.iter().find(|(set, _)| *set == key)?;
        (self.layer(key) == Layer::Profile).then_some(*profile)
    }

    /// Whether the process must end with [`super::EXIT_CONFIGURATION`].
    #[must_use]
    pub fn fatal(&self) -> bool {
        !self.app && !self.problems.is_empty()
    }

    /// Layer of a value; a value that is not set counts as default.
    #[must_use]
    pub fn layer(&self, key: &str) -> Layer {
        self.origin.get(key).copied().unwrap_or(Layer::Default)
    }

    /// What is wrong and what is worth a line, as reasons.
    #[must_use]
    pub fn complaints(&self) -> Vec<Reason> {
        let problems = self.problems.iter().map(Reason::from);
        problems.chain(self.warnings.iter().cloned()).collect()
    }

    /// Why all phases of a meter (by index) have to be absent, if they have to.
    #[must_use]
    pub fn absent_reason(&self, meter: usize) -> Option<Reason> {
        let all = self.absent_reasons.iter();
        let own = all.filter(|(index, _)| *index == meter);
        Reason::all(own.map(|(_, why)| why.clone()).collect())
    }

    /// What a process runs with that was started with `started` and then given these options:
    /// those that count at once as they are now, every other as it was.
    #[must_use]
    pub fn running(&self, started: &Self) -> Settings {
        let mut meters = started.meters.0.clone();
        for meter in &mut meters {
            let Some(new) = self.meters.0.iter().find(|new| new.name == meter.name) else {
                continue;
            };
            for key in definitions::all().filter(|def| def.live).map(|def| def.key) {
                meter.drop(key);
                if let (Some(value), Some(layer)) = (new.values.get(key), new.origin.get(key)) {
                    meter.put(key, value.clone(), *layer);
                }
            }
        }
        let mut settings = assemble::settings(&meters, &started.data_dir, started.app);
        // What was found at the start was said then.
        checks::listeners(&mut settings, &meters, &mut Findings::new(started.app));
        for meter in &mut settings.meters {
            let now = self.meters.0.iter().position(|new| new.name == meter.name);
            if now.is_some_and(|index| self.absent_reason(index).is_some()) {
                meter.inputs = Inputs::none();
            }
        }
        settings
    }

    /// Whether an option is other than at the start and does not count before a restart.
    #[must_use]
    pub fn waits(&self, started: &Self, key: &str) -> bool {
        let value = |of: &Self| of.meters.0.first().and_then(|m| m.values.get(key).cloned());
        !definitions::find(key).is_some_and(|def| def.live) && value(self) != value(started)
    }

    /// Notes what the device's own state says, for display: it counts only where no option says
    /// otherwise.
    pub fn note_device_state(&mut self, key: &str, value: Value) {
        let Some(def) = definitions::find(key)
            .filter(|def| def.device && self.layer(def.key) == Layer::Default)
        else {
            return;
        };
        self.values.insert(def.key, value);
        self.origin.insert(def.key, Layer::Device);
    }
}

impl Default for Settings {
    /// Those without any option, with the working directory for the data folder.
    fn default() -> Self {
        load(&LoadInputs::default()).settings
    }
}

/// Reads all layers. Never fails: what is wrong is in [`Resolved::problems`].
#[must_use]
pub fn load(inputs: &LoadInputs) -> Resolved {
    let Gathered {
        given,
        mut found,
        file_broken,
    } = layers::gather(inputs);
    let mut first = Meter {
        blocked: file_broken.into_iter().collect(),
        ..Meter::default()
    };
    // Wrong values of options that all meters share, or that a further meter takes from the first.
    let (mut shared, mut inherited) = (Vec::new(), Vec::new());
    for def in definitions::all() {
        let said = given.get(def.key).map_or(&[][..], Vec::as_slice);
        let (effective, wrong) = effective(def, said, &mut found);
        if let Some(wrong) = wrong.filter(|_| def.safety) {
            match (definitions::in_meter(def), def.inherited) {
                (false, _) => shared.push(wrong.clone()),
                (true, true) => inherited.push((def.key, wrong.clone())),
                (true, false) => {}
            }
            first.blocked.push(wrong);
        }
        let fallback = || default_value(def, inputs.app).map(|value| (value, Layer::Default));
        if let Some((value, layer)) = effective.or_else(fallback) {
            first.put(def.key, value, layer);
        }
    }
    quiet_sources(&mut first, inputs);
    let mut meters = match first.values.get("meters") {
        Some(Value::Array(entries)) => meters::read(entries, first.layer("meters"), &mut found),
        _ => Vec::new(),
    };
    for meter in &mut meters {
        meter.blocked.extend(shared.iter().cloned());
        for (key, wrong) in &inherited {
            if !meter.has(key) {
                meter.blocked.push(wrong.clone());
            }
        }
    }
    meters.insert(0, first);
    readers::lay(&mut meters, &mut found);
    checks::values(&mut meters, &mut found);
    let absent_reasons: Vec<(usize, Reason)> = meters
        .iter()
        .enumerate()
        .flat_map(|(index, meter)| meter.blocked.iter().map(move |why| (index, why.clone())))
        .collect();
    let mut settings = assemble::settings(&meters, &inputs.data_dir, inputs.app);
    checks::listeners(&mut settings, &meters, &mut found);
    for (index, _) in &absent_reasons {
        if let Some(meter) = settings.meters.get_mut(*index) {
            meter.inputs = Inputs::none();
        }
        settings.source.auto_setup &= *index != 0;
    }
    let (mut values, mut origin) = (meters[0].values.clone(), meters[0].origin.clone());
    let places = [
        ("data_dir", inputs.data_dir.clone()),
        ("options", inputs.options_path()),
    ];
    for (key, path) in places {
        values.insert(key, path.display().to_string().into());
        origin.entry(key).or_insert(Layer::Default);
    }
    for def in definitions::all().filter(|def| def.secret()) {
        if let Some(value) = values.get_mut(def.key) {
            *value = vocab::MASK.into();
        }
    }
    Resolved {
        settings,
        values,
        origin,
        problems: found.problems,
        warnings: found.warnings,
        absent_reasons,
        app: inputs.app,
        meters: Secretly(meters),
        data_dir: inputs.data_dir.clone(),
    }
}

/// The highest layer that says anything decides; every wrong value is listed, and given back if it
/// is the deciding one.
fn effective(
    def: &'static Definition,
    said: &[Given],
    found: &mut Findings,
) -> (Option<(Value, Layer)>, Option<Reason>) {
    let (mut best, mut wrong) = (None, None);
    for Given { layer, name, value } in said {
        let Some(raw) = value else {
            let off = if matches!(def.kind, Kind::Many(_)) {
                Value::Array(Vec::new())
            } else {
                Value::Null
            };
            (best, wrong) = (Some((off, *layer)), None);
            continue;
        };
        match value::check(def, raw) {
            Ok(None) => {}
            Ok(Some(value)) => (best, wrong) = (Some((value, *layer)), None),
            Err(allowed) => {
                let problem =
                    Problem::value(*layer, def.key, def, &raw.shown(), allowed).named(name);
                (best, wrong) = (None, Some(Reason::from(&problem)));
                found.wrong(problem);
            }
        }
    }
    (best, wrong)
}

/// Made-up values must not reach a battery: demo and replay listen on loopback, without mDNS,
/// unless told otherwise. A demo is tried by anybody: its ports are those that need no rights, and
/// that are free.
fn quiet_sources(first: &mut Meter, inputs: &LoadInputs) {
    let source = first.text("source");
    if source == Some("home-assistant") {
        return;
    }
    let mut quiet = Values::from([
        ("bind", Value::from("127.0.0.1")),
        ("mdns_enable", Value::Bool(false)),
    ]);
    if source == Some("demo") && !inputs.app {
        quiet.insert("modbus_port", 5020.into());
        quiet.insert("udp_ports", serde_json::json!([2220, 2222, 2223]));
        quiet.extend(inputs.demo_ports.clone());
    }
    for (key, value) in quiet {
        if first.layer(key) == Layer::Default {
            first.values.insert(key, value);
        }
    }
}

//! What the meter says to a battery that asks: the product's control, and what others do.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use virtual_shelly::control::{Control, Decision, Params, Question, Value};

use super::batteries::Battery;

/// Hears every sample and every question. `None` is "not now": a datagram then stays without an
/// answer after `udp_wait` s, a connection waits and is looked at again.
pub trait Policy {
    fn sample(&mut self, t: f64, watts: f64);
    fn ask(&mut self, t: f64, who: usize, waited: f64, holds: bool) -> Option<f64>;
    fn udp_wait(&self) -> f64 {
        0.0
    }
    /// What no meter knows: the batteries as they are, and what the house took at the newest sample, W.
    fn told_all(&mut self, _: &[Battery], _: f64) {}
}

/// The newest sample.
#[derive(Debug, Default)]
struct Newest {
    watts: f64,
    n: u64,
    at: f64,
    cadence: f64,
}

impl Newest {
    fn take(&mut self, t: f64, watts: f64) {
        self.cadence = if self.n == 0 {
            1.0
        } else {
            self.cadence + 0.1 * ((t - self.at).min(30.0) - self.cadence)
        };
        (self.watts, self.at, self.n) = (watts, t, self.n + 1);
    }
}

/// When each reader was answered, and with which sample.
type Answered = HashMap<usize, (f64, u64)>;

/// Always the newest sample.
#[derive(Debug, Default)]
pub struct Off(Newest);

impl Policy for Off {
    fn sample(&mut self, t: f64, watts: f64) {
        self.0.take(t, watts);
    }

    fn ask(&mut self, _: f64, _: usize, _: f64, _: bool) -> Option<f64> {
        (self.0.n > 0).then_some(self.0.watts)
    }
}

/// The product's smoothing: the mean over a time.
#[derive(Debug)]
pub struct Mean {
    window: f64,
    past: VecDeque<(f64, f64)>,
}

impl Mean {
    pub fn new(window: f64) -> Self {
        Self {
            window,
            past: VecDeque::new(),
        }
    }
}

impl Policy for Mean {
    fn sample(&mut self, t: f64, watts: f64) {
        self.past.push_back((t, watts));
    }

    fn ask(&mut self, t: f64, _: usize, _: f64, _: bool) -> Option<f64> {
        while self
            .past
            .get(1)
            .is_some_and(|(at, _)| *at <= t - self.window)
        {
            self.past.pop_front();
        }
        let (mut area, mut end) = (0.0, t);
        for &(at, watts) in self.past.iter().rev() {
            let from = at.max(t - self.window);
            area += watts * (end - from);
            end = from;
        }
        let newest = self.past.back()?.1;
        Some(if t > end { area / (t - end) } else { newest })
    }
}

/// One answer in `least` s to a reader, each from a sample it has not had; after `most` s of
/// waiting the last one again.
#[derive(Debug)]
pub struct Throttle {
    newest: Newest,
    least: f64,
    wait: f64,
    answered: Answered,
}

impl Throttle {
    pub fn new(least: f64, wait: f64) -> Self {
        Self {
            newest: Newest::default(),
            least,
            wait,
            answered: HashMap::new(),
        }
    }
}

impl Policy for Throttle {
    fn sample(&mut self, t: f64, watts: f64) {
        self.newest.take(t, watts);
    }

    fn ask(&mut self, t: f64, who: usize, _: f64, _: bool) -> Option<f64> {
        let (at, n) = self
            .answered
            .get(&who)
            .copied()
            .unwrap_or((f64::NEG_INFINITY, 0));
        let same = n == self.newest.n && t - at < 1.5 * self.newest.cadence;
        if self.newest.n == 0 || t - at < self.least || same {
            return None;
        }
        self.answered.insert(who, (t, self.newest.n));
        Some(self.newest.watts)
    }

    fn udp_wait(&self) -> f64 {
        self.wait
    }
}

/// Waits for the next sample, at most 2 s; then exponential smoothing by `alpha` and a part `gain`
/// of it.
#[derive(Debug)]
pub struct Fresh {
    newest: Newest,
    alpha: f64,
    gain: f64,
    smooth: Option<f64>,
    heard: HashMap<usize, u64>,
}

impl Fresh {
    pub fn new(alpha: f64, gain: f64) -> Self {
        Self {
            newest: Newest::default(),
            alpha,
            gain,
            smooth: None,
            heard: HashMap::new(),
        }
    }
}

impl Policy for Fresh {
    fn sample(&mut self, t: f64, watts: f64) {
        self.newest.take(t, watts);
        let before = self.smooth.unwrap_or(watts);
        self.smooth = Some(before + self.alpha * (watts - before));
    }

    fn ask(&mut self, _: f64, who: usize, waited: f64, _: bool) -> Option<f64> {
        let smooth = self.smooth?;
        if waited == 0.0 {
            self.heard.insert(who, self.newest.n);
        }
        let fresh = self.newest.n > self.heard.get(&who).copied().unwrap_or(0);
        (fresh || waited >= 2.0).then_some(self.gain * smooth)
    }

    fn udp_wait(&self) -> f64 {
        9.0
    }
}

/// What was measured less what was answered in the last `loop_time` s and is not seen yet, never
/// beyond zero.
#[derive(Debug)]
pub struct Predictor {
    newest: Newest,
    loop_time: f64,
    answered: HashMap<usize, VecDeque<(f64, f64)>>,
}

impl Predictor {
    pub fn new(loop_time: f64) -> Self {
        Self {
            newest: Newest::default(),
            loop_time,
            answered: HashMap::new(),
        }
    }
}

impl Policy for Predictor {
    fn sample(&mut self, t: f64, watts: f64) {
        self.newest.take(t, watts);
    }

    fn ask(&mut self, t: f64, who: usize, _: f64, _: bool) -> Option<f64> {
        if self.newest.n == 0 {
            return None;
        }
        let past = self.answered.entry(who).or_default();
        while past.front().is_some_and(|(at, _)| *at < t - self.loop_time) {
            past.pop_front();
        }
        let watts = self.newest.watts;
        let left = watts - past.iter().map(|(_, w)| w).sum::<f64>();
        let value = if left * watts > 0.0 {
            left.abs().min(watts.abs()).copysign(watts)
        } else {
            0.0
        };
        past.push_back((t, value));
        Some(value)
    }
}

/// The product's control.
#[derive(Debug)]
pub struct Calm(Control<usize>, f64);

impl Calm {
    pub fn new(params: Params) -> Self {
        Self(
            Control::new(params).expect("parameters in their ranges"),
            params.udp_wait,
        )
    }
}

impl Policy for Calm {
    fn sample(&mut self, t: f64, watts: f64) {
        self.0.sample(Duration::from_secs_f64(t), watts);
    }

    fn ask(&mut self, t: f64, who: usize, waited: f64, holds: bool) -> Option<f64> {
        let question = Question {
            reader: who,
            share: None,
            waited: Duration::from_secs_f64(waited.max(0.0)),
            holds,
        };
        match self.0.ask(Duration::from_secs_f64(t), &question) {
            Decision::Answer {
                value: Value::Sample(watts),
                ..
            } => Some(watts),
            Decision::Answer {
                value: Value::Zero, ..
            } => Some(0.0),
            Decision::Wait(_) | Decision::Silence => None,
        }
    }

    fn udp_wait(&self) -> f64 {
        self.1
    }
}

/// Knows each battery's law and state, and answers the newest sample where that brings the set point
/// closer to what the house takes: what remains to it remains to anybody who serves measured values.
#[derive(Debug, Default)]
pub struct Knowing {
    newest: Newest,
    batteries: Vec<Battery>,
    house: f64,
    said: HashMap<usize, f64>,
}

impl Policy for Knowing {
    fn sample(&mut self, t: f64, watts: f64) {
        self.newest.take(t, watts);
    }

    fn told_all(&mut self, batteries: &[Battery], house: f64) {
        self.batteries = batteries.to_vec();
        self.house = house;
    }

    fn ask(&mut self, t: f64, who: usize, waited: f64, holds: bool) -> Option<f64> {
        let watts = self.newest.watts / self.batteries.len() as f64;
        let battery = &self.batteries[who];
        let left = self.house - self.batteries.iter().map(Battery::set).sum::<f64>();
        let adds = battery.would_set(t, watts) - battery.set();
        let stays = self.said.get(&who).is_some_and(|said| *said != 0.0) && battery.acts_again();
        let answer = if (left - adds).abs() < left.abs() - 5.0 {
            watts
        } else if stays || holds && waited >= 4.5 {
            0.0
        } else {
            return None;
        };
        self.said.insert(who, answer);
        Some(answer)
    }

    fn udp_wait(&self) -> f64 {
        1.0
    }
}

/// All policies of the table, by name.
pub const POLICIES: [&str; 14] = [
    "knows each law",
    "control",
    "control, no laws",
    "control, no learning",
    "one in 3.5 s",
    "half of a fresh sample",
    "one in 2 s",
    "predictor 3 s",
    "fresh sample",
    "smoothed by 0.3",
    "one in 0.9 s",
    "off",
    "mean of 4 s",
    "mean of 10 s",
];

/// A policy by its name.
pub fn make(name: &str) -> Box<dyn Policy> {
    match name {
        "control" => Box::new(Calm::new(Params::default())),
        "control, no laws" => Box::new(Calm::new(Params {
            laws: false,
            ..Params::default()
        })),
        "knows each law" => Box::new(Knowing::default()),
        "control, no learning" => Box::new(Calm::new(Params {
            learn: false,
            ..Params::default()
        })),
        "one in 3.5 s" => Box::new(Throttle::new(3.5, 0.0)),
        "one in 2 s" => Box::new(Throttle::new(2.0, 0.0)),
        "one in 0.9 s" => Box::new(Throttle::new(0.9, 0.0)),
        "half of a fresh sample" => Box::new(Fresh::new(1.0, 0.5)),
        "fresh sample" => Box::new(Fresh::new(1.0, 1.0)),
        "smoothed by 0.3" => Box::new(Fresh::new(0.3, 1.0)),
        "predictor 3 s" => Box::new(Predictor::new(3.0)),
        "off" => Box::new(Off::default()),
        "mean of 4 s" => Box::new(Mean::new(4.0)),
        "mean of 10 s" => Box::new(Mean::new(10.0)),
        other => panic!("no policy is called {other}"),
    }
}

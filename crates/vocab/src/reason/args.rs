//! What stands in a reason: values that say how they are written in a line and on a page.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::{Explain, Quantity, Reason, entity::NotActive};
use crate::{EntityId, one_line::one_line};

/// An argument as a page takes it.
pub enum Arg<'a> {
    /// The same in every language.
    Text(String),
    /// A word with a key in `locales/`.
    Word(&'static str),
    /// How many.
    Count(u64),
    /// How long, s.
    Span(f64),
    /// How much, and its unit.
    Amount(f64, &'static str),
    /// A reason within the reason.
    Reason(&'a dyn Explain),
}

/// What may stand in a reason.
pub trait Value {
    /// As a page takes it.
    fn arg(&self) -> Arg<'_>;

    /// One such, for tests that go through all reasons.
    fn sample() -> Self;
}

macro_rules! texts {
    ($($type:ty = $sample:expr),* $(,)?) => {
        $( impl Value for $type {
            fn arg(&self) -> Arg<'_> {
                Arg::Text(self.to_string())
            }

            fn sample() -> Self {
                $sample
            }
        } )*
    };
}

texts! {
    Arc<str> = "sensor.x".into(),
    EntityId = EntityId::from_static("sensor.x"),
    &'static str = "sensor.x",
    u16 = 404,
    u32 = 7,
    i64 = -105,
    f64 = 2e6,
    usize = 32,
    IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
    Quoted = Quoted("°C".into()),
    Units = Units(Quantity::Energy),
}

impl Value for Span {
    fn arg(&self) -> Arg<'_> {
        Arg::Span(self.0)
    }

    fn sample() -> Self {
        Self(1500.0)
    }
}

impl Value for Watts {
    fn arg(&self) -> Arg<'_> {
        Arg::Amount(self.value, self.unit)
    }

    fn sample() -> Self {
        Self::of(Quantity::Power, 2e6)
    }
}

impl Value for u64 {
    fn arg(&self) -> Arg<'_> {
        Arg::Count(*self)
    }

    fn sample() -> Self {
        12
    }
}

impl Value for Quantity {
    fn arg(&self) -> Arg<'_> {
        Arg::Word(match self {
            Self::Power => "what_power",
            Self::Voltage => "what_voltage",
            Self::Current => "what_current",
            Self::PowerFactor => "what_power_factor",
            Self::Frequency => "what_frequency",
            Self::Energy => "what_energy",
        })
    }

    fn sample() -> Self {
        Self::Energy
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Value for NotActive {
    fn arg(&self) -> Arg<'_> {
        Arg::Word(match self {
            Self::Apparent => "what_apparent",
            Self::Reactive => "what_reactive",
        })
    }

    fn sample() -> Self {
        Self::Reactive
    }
}

impl Value for Arc<Reason> {
    fn arg(&self) -> Arg<'_> {
        Arg::Reason(&**self)
    }

    fn sample() -> Self {
        Arc::new(Reason::Link(super::Unreachable::Starting))
    }
}

/// Text of somebody else in quotes, marks in it escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(pub Arc<str>);

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The units that a quantity may have: `W, kW, mW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units(pub Quantity);

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, _)) in self.0.units().iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What a quantity may be: `at most 1 MW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub Quantity);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.range())
    }
}

impl Value for Range {
    fn arg(&self) -> Arg<'_> {
        Arg::Word(match self.0 {
            Quantity::Power => "range_power",
            Quantity::Voltage => "range_voltage",
            Quantity::Current => "range_current",
            Quantity::PowerFactor => "range_power_factor",
            Quantity::Frequency => "range_frequency",
            Quantity::Energy => "range_energy",
        })
    }

    fn sample() -> Self {
        Self(Quantity::Power)
    }
}

/// A number with its base unit: `2000000 W`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watts {
    value: f64,
    unit: &'static str,
}

impl Watts {
    /// Of a quantity, in its base unit.
    #[must_use]
    pub const fn of(quantity: Quantity, value: f64) -> Self {
        Self {
            value,
            unit: quantity.base_unit(),
        }
    }
}

impl fmt::Display for Watts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.unit)
    }
}

/// Seconds for people: `2 s`, `25 min`, `3.5 h`, `4 d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span(pub f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |v: f64| {
            if v < 9.95 && (v - v.round()).abs() >= 0.05 {
                format!("{v:.1}")
            } else {
                format!("{v:.0}")
            }
        };
        match self.0 {
            s if s < 99.5 => write!(f, "{} s", short(s)),
            s if s < 5_970.0 => write!(f, "{} min", short(s / 60.0)),
            s if s < 172_800.0 => write!(f, "{} h", short(s / 3600.0)),
            s => write!(f, "{} d", short(s / 86_400.0)),
        }
    }
}

/// What another program, the system or a library said, on one line, and what that is, if it is one
/// of the usual failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its words.
    pub text: Arc<str>,
    /// What they say.
    pub failure: Option<Failure>,
}

/// The usual failures, which pages name in the person's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Failure {
    Missing,
    Forbidden,
    DiskFull,
    ReadOnly,
    Dropped,
    Taken,
    NoAddress,
    NoRoute,
    TimedOut,
    Refused,
    NoName,
    CannotOpen,
    DiskFault,
    Locked,
    /// Home Assistant does not know the token.
    NoToken,
    /// An answer that cannot be read.
    Unreadable,
}

impl Failure {
    const ALL: [(Self, &'static str); 16] = [
        (Self::Missing, "sys_missing"),
        (Self::Forbidden, "port_forbidden"),
        (Self::DiskFull, "sys_full"),
        (Self::ReadOnly, "sys_read_only"),
        (Self::Dropped, "sys_cut"),
        (Self::Taken, "port_taken"),
        (Self::NoAddress, "sys_no_address"),
        (Self::NoRoute, "sys_no_route"),
        (Self::TimedOut, "sys_timeout"),
        (Self::Refused, "sys_refused"),
        (Self::NoName, "sys_no_name"),
        (Self::CannotOpen, "sys_cannot_open"),
        (Self::DiskFault, "sys_disk"),
        (Self::Locked, "sys_locked"),
        (Self::NoToken, "sys_no_token"),
        (Self::Unreadable, "sys_unreadable"),
    ];

    /// Of a system's error.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Option<Self> {
        use io::ErrorKind as Kind;
        Some(match error.kind() {
            Kind::NotFound => Self::Missing,
            Kind::PermissionDenied => Self::Forbidden,
            Kind::StorageFull | Kind::QuotaExceeded => Self::DiskFull,
            Kind::ReadOnlyFilesystem => Self::ReadOnly,
            Kind::BrokenPipe | Kind::ConnectionReset | Kind::ConnectionAborted => Self::Dropped,
            Kind::UnexpectedEof => Self::Dropped,
            Kind::AddrInUse => Self::Taken,
            Kind::AddrNotAvailable => Self::NoAddress,
            Kind::NetworkUnreachable | Kind::HostUnreachable => Self::NoRoute,
            Kind::TimedOut => Self::TimedOut,
            Kind::ConnectionRefused => Self::Refused,
            _ => return None,
        })
    }
}

impl Failure {
    /// What an error is or comes from, as far as that is one of the usual failures.
    #[must_use]
    pub fn under(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<NoName>() {
                return Some(Self::NoName);
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                // What an I/O error wraps is no source of it.
                let inner = io.get_ref().and_then(|inner| Self::under(inner));
                return inner.or_else(|| Self::of_io(io));
            }
            next = error.source();
        }
        None
    }
}

impl Cause {
    /// What others said, of a kind that pages have no words for.
    #[must_use]
    pub fn said(text: impl AsRef<str>) -> Self {
        Self {
            text: one_line(text.as_ref()).into(),
            failure: None,
        }
    }

    /// The same, when it is known what it means.
    #[must_use]
    pub fn known(text: impl AsRef<str>, failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::said(text)
        }
    }

    /// An error, told apart by the system's error under it, if there is one.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        Self {
            failure: Failure::under(error),
            ..Self::said(error.to_string())
        }
    }

    /// What came of looking a name up.
    #[must_use]
    pub fn of_lookup(error: &io::Error) -> Self {
        let cause = Self::of(error);
        Self {
            failure: cause.failure.or(Some(Failure::NoName)),
            ..cause
        }
    }
}

/// A name that has no address, as the resolver says it: its error has neither kind nor number.
#[derive(Debug)]
pub struct NoName(pub io::Error);

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NoName {}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::of(&error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Explain for Cause {
    fn key(&self) -> Option<&'static str> {
        let (_, key) = Failure::ALL
            .iter()
            .find(|(failure, _)| Some(*failure) == self.failure)?;
        Some(key)
    }

    fn args(&self) -> Vec<(&'static str, Arg<'_>)> {
        Vec::new()
    }
}

impl Value for Cause {
    fn arg(&self) -> Arg<'_> {
        Arg::Reason(self)
    }

    fn sample() -> Self {
        Self::known("Connection refused (os error 111)", Failure::Refused)
    }
}

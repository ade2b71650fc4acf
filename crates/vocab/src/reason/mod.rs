//! Why something is not as it should be: a phase without a value, an entity that is of no use, a
//! source out of reach.
//!
//! A reason is a value. Its `Display` is the English line of the log and of what is served on the
//! wire; a page says it in the person's language by its [`Explain::key`]; and whoever compares two
//! reasons or decides by one looks at the variant, never at the line. What another program said
//! (Home Assistant, the system, a library) is an argument: a [`Cause`], told apart once, where it
//! comes in.

mod args;
mod entity;
mod files;
mod found;
mod kept;
mod link;
mod listener;
mod option;
mod quantity;
mod undone;

use std::{fmt, sync::Arc};

use crate::{EntityId, Layer};

pub use args::{Arg, Cause, Failure, NoName, Quoted, Range, Span, Units, Value, Watts};
pub use entity::{Input, NotActive, Renamed, Unusable};
pub use files::Unkept;
pub use found::LeftOut;
pub use kept::{KeptArg, KeptReason};
pub use link::Unreachable;
pub use listener::{BadTarget, Closed, Networks};
pub use option::{Limit, Schemes, Words, Wrong};
pub use quantity::Quantity;
pub use undone::{Count, Undone};

/// A reason as pages say it.
pub trait Explain: fmt::Display {
    /// The key of its text in `locales/`; `None` for the words of others, which stay as they are.
    fn key(&self) -> Option<&'static str>;

    /// What stands in the text's `{braces}`.
    fn args(&self) -> Vec<(&'static str, Arg<'_>)>;
}

/// Declares an enum of reasons: each variant with its arguments, the key of its text in `locales/`
/// and its English line.
#[macro_export]
macro_rules! reasons {
    (
        $(#[$meta:meta])*
        pub enum $Reasons:ident {
            $( $Name:ident $({ $($arg:ident: $type:ty),* })? = $key:literal, $line:literal; )*
        }
    ) => {
        $(#[$meta])*
        // The line says what its arguments are.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, PartialEq)]
        pub enum $Reasons {
            $( #[doc = concat!("`", $line, "`")] $Name $({ $($arg: $type),* })?, )*
        }

        impl std::fmt::Display for $Reasons {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $( Self::$Name $({ $($arg),* })? => write!(f, $line), )*
                }
            }
        }

        $crate::served_as_line!($Reasons);

        impl $crate::reason::Explain for $Reasons {
            fn key(&self) -> Option<&'static str> {
                Some(match self {
                    $( Self::$Name $({ $($arg: _),* })? => $key, )*
                })
            }

            fn args(&self) -> Vec<(&'static str, $crate::reason::Arg<'_>)> {
                match self {
                    $( Self::$Name $({ $($arg),* })? => vec![
                        $( $( (stringify!($arg), $crate::reason::Value::arg($arg)) ),* )?
                    ], )*
                }
            }
        }

        impl $Reasons {
            /// One of each variant, for tests that go through all.
            #[must_use]
            pub fn samples() -> Vec<Self> {
                vec![
                    $( Self::$Name $({ $($arg: $crate::reason::Value::sample()),* })?, )*
                ]
            }
        }
    };
}
use reasons;

/// On the wire and in files a reason is its line.
#[macro_export]
macro_rules! served_as_line {
    ($Reasons:ident) => {
        impl serde::Serialize for $Reasons {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

/// Any reason.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// An entity says nothing that may be used.
    Entity {
        /// Which.
        entity: EntityId,
        /// What is wrong with it.
        why: Unusable,
    },
    /// A phase, a counter or a sign, as far as it is not one entity's fault.
    Input(Input),
    /// The way to the source.
    Link(Unreachable),
    /// An entity has another name, or none.
    Renamed(Renamed),
    /// Something is not kept.
    Unkept(Unkept),
    /// What was found and is not taken.
    Found(LeftOut),
    /// A listener, or a connection that we open.
    Closed(Closed),
    /// Something was asked for, or due, and is not done.
    Undone(Undone),
    /// What a value must be, and is not.
    MustBe(Limit),
    /// What a value may be.
    Limit(Limit),
    /// What is wrong with an option.
    Wrong(Wrong),
    /// An option as it was found, and what is wrong with it.
    Option {
        /// Where.
        layer: Layer,
        /// Which: `hold = 99999`.
        what: Arc<str>,
        /// What is wrong with it.
        why: Arc<Reason>,
    },
    /// One reason, and others.
    And(Arc<[Reason; 2]>),
    /// The reason of something that is named before it: an entity, a meter, option keys.
    Of {
        /// What.
        what: Arc<str>,
        /// Why.
        why: Arc<Reason>,
    },
    /// The words of another program, which stay as they are.
    Foreign(Arc<str>),
}

impl Reason {
    /// `text` as it is.
    #[must_use]
    pub fn foreign(text: impl Into<Arc<str>>) -> Self {
        Self::Foreign(text.into())
    }

    /// What is wrong with an entity.
    #[must_use]
    pub fn entity(entity: &EntityId, why: Unusable) -> Self {
        Self::Entity {
            entity: entity.clone(),
            why,
        }
    }

    /// The reason of `what`.
    #[must_use]
    pub fn of(self, what: impl Into<Arc<str>>) -> Self {
        Self::Of {
            what: what.into(),
            why: Arc::new(self),
        }
    }

    /// Whether it is no fault: its owner wants readers to be told something else than what is
    /// measured.
    #[must_use]
    pub const fn pauses(&self) -> bool {
        matches!(
            self,
            Self::Input(Input::Paused | Input::PausedByProfile | Input::PausedAtZero)
        )
    }

    /// Whether it is a sign that energy counters contradict.
    #[must_use]
    pub const fn is_sign(&self) -> bool {
        matches!(
            self,
            Self::Input(Input::Feeding { .. } | Input::Drawing { .. })
        )
    }

    /// All of them as one; `None` of none.
    #[must_use]
    pub fn all(mut reasons: Vec<Self>) -> Option<Self> {
        let mut all = reasons.pop()?;
        while let Some(before) = reasons.pop() {
            all = Self::And(Arc::new([before, all]));
        }
        Some(all)
    }

    /// Whether both are one fault: an entity that says one absurd number after the other has one.
    #[must_use]
    pub fn same_fault(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entity { entity, why }, Self::Entity { entity: of, why: y }) => {
                entity == of && why.same_fault(y)
            }
            (
                Self::Input(Input::Scaled { entities, .. }),
                Self::Input(Input::Scaled { entities: of, .. }),
            ) => entities == of,
            (Self::Of { what, why }, Self::Of { what: of, why: y }) => {
                what == of && why.same_fault(y)
            }
            _ => self == other,
        }
    }

    /// One of each variant, for tests that go through all.
    #[must_use]
    pub fn samples() -> Vec<Self> {
        let entity: EntityId = Value::sample();
        let mut all: Vec<Self> = Unusable::samples()
            .into_iter()
            .map(|why| Self::entity(&entity, why))
            .collect();
        all.extend(Input::samples().into_iter().map(Self::Input));
        all.extend(Unreachable::samples().into_iter().map(Self::Link));
        all.extend(LeftOut::samples().into_iter().map(Self::Found));
        all.extend(Renamed::samples().into_iter().map(Self::Renamed));
        all.extend(Unkept::samples().into_iter().map(Self::Unkept));
        all.extend(Closed::samples().into_iter().map(Self::Closed));
        all.extend(
            BadTarget::samples()
                .into_iter()
                .map(|why| Self::Closed(Closed::Target { why })),
        );
        all.extend(Undone::samples().into_iter().map(Self::Undone));
        all.extend(Limit::samples().into_iter().map(Self::MustBe));
        all.extend(Wrong::samples().into_iter().map(Self::Wrong));
        all.extend(Layer::ALL.map(|layer| Self::Option {
            layer,
            what: "hold = 99999".into(),
            why: Value::sample(),
        }));
        all.extend(Self::all(vec![
            Self::Link(Unreachable::Starting),
            Self::Unkept(Unkept::PasswordUnknown),
        ]));
        all.push(Self::Link(Unreachable::Starting).of("sensor.x"));
        all
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity { entity, why } => write!(f, "{entity} {why}"),
            Self::Input(why) => why.fmt(f),
            Self::Link(why) => why.fmt(f),
            Self::Unkept(why) => why.fmt(f),
            Self::Renamed(why) => why.fmt(f),
            Self::Found(why) => why.fmt(f),
            Self::Closed(why) => why.fmt(f),
            Self::Undone(why) => why.fmt(f),
            Self::MustBe(limit) => write!(f, "must be {limit}"),
            Self::Limit(limit) => limit.fmt(f),
            Self::Wrong(why) => why.fmt(f),
            Self::Option { layer, what, why } => write!(f, "{}: {what}: {why}", layer.words()),
            Self::And(both) => write!(f, "{}; {}", both[0], both[1]),
            Self::Of { what, why } => write!(f, "{what}: {why}"),
            Self::Foreign(text) => f.write_str(text),
        }
    }
}

served_as_line!(Reason);

impl Explain for Reason {
    fn key(&self) -> Option<&'static str> {
        match self {
            Self::Entity { why, .. } => why.key(),
            Self::Input(why) => why.key(),
            Self::Link(why) => why.key(),
            Self::Unkept(why) => why.key(),
            Self::Renamed(why) => why.key(),
            Self::Found(why) => why.key(),
            Self::Closed(why) => why.key(),
            Self::Undone(why) => why.key(),
            Self::MustBe(limit) | Self::Limit(limit) => limit.key(),
            Self::Wrong(why) => why.key(),
            Self::Option { .. } => Some("problem_line"),
            Self::And(_) => Some("two_reasons"),
            Self::Of { .. } => Some("why_of"),
            Self::Foreign(_) => None,
        }
    }

    fn args(&self) -> Vec<(&'static str, Arg<'_>)> {
        match self {
            Self::Entity { entity, why } => {
                let mut args = why.args();
                args.push(("entity", entity.arg()));
                args
            }
            Self::Input(why) => why.args(),
            Self::Link(why) => why.args(),
            Self::Unkept(why) => why.args(),
            Self::Renamed(why) => why.args(),
            Self::Found(why) => why.args(),
            Self::Closed(why) => why.args(),
            Self::Undone(why) => why.args(),
            Self::MustBe(limit) | Self::Limit(limit) => limit.args(),
            Self::Wrong(why) => why.args(),
            Self::Option { layer, what, why } => vec![
                ("where", Arg::Word(layer.key())),
                ("what", what.arg()),
                ("why", Arg::Reason(&**why)),
            ],
            Self::And(both) => vec![
                ("one", Arg::Reason(&both[0])),
                ("other", Arg::Reason(&both[1])),
            ],
            Self::Of { what, why } => vec![("entity", what.arg()), ("why", Arg::Reason(&**why))],
            Self::Foreign(_) => Vec::new(),
        }
    }
}

/// Makes a [`Reason`] of one kind of reasons.
macro_rules! from {
    ($($Kind:ident: $Reasons:ty),*) => {
        $( impl From<$Reasons> for Reason {
            fn from(why: $Reasons) -> Self {
                Self::$Kind(why)
            }
        } )*
    };
}
from!(
    Input: Input,
    Link: Unreachable,
    Found: LeftOut,
    Renamed: Renamed,
    Unkept: Unkept,
    Closed: Closed,
    Undone: Undone,
    MustBe: Limit,
    Wrong: Wrong
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_make_no_other_fault() {
        let absurd = |entity, value| {
            Reason::entity(
                &EntityId::from_static(entity),
                Unusable::Implausible {
                    value: Watts::of(Quantity::Power, value),
                    range: Range(Quantity::Power),
                },
            )
        };
        let says = |text: &str| {
            Reason::entity(
                &EntityId::from_static("sensor.l1"),
                Unusable::NotANumber {
                    text: Quoted(text.into()),
                },
            )
        };
        let scaled = |watts| {
            Reason::Input(Input::Scaled {
                entities: "a, b".into(),
                watts,
            })
        };
        assert!(absurd("sensor.l1", 2e6).same_fault(&absurd("sensor.l1", 3e9)));
        assert!(says("a").same_fault(&says("x, which is not y")));
        assert!(scaled(2e6).same_fault(&scaled(1.0)));
        let all = [
            absurd("sensor.l1", 2e6),
            absurd("sensor.l2", 2e6),
            says("a"),
            Reason::entity(&EntityId::from_static("sensor.l1"), Unusable::Gone),
            Reason::Link(Unreachable::Ended).of("sensor.l1"),
            Reason::Link(Unreachable::Connecting).of("sensor.l1"),
            scaled(2e6),
        ];
        for (i, one) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate() {
                assert_eq!(one.same_fault(other), i == j, "{one} / {other}");
            }
        }
    }

    #[test]
    fn a_reason_is_served_as_its_line() {
        let why = Reason::Link(Unreachable::Starting).of("sensor.l1");
        assert_eq!(
            serde_json::to_value(&why).ok(),
            Some("sensor.l1: Home Assistant is starting".into())
        );
    }
}

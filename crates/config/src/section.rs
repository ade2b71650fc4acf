//! How a section of the settings is declared: each field once, with the option that it is.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde_json::Value;

use super::{
    choices::Secret,
    definition::{Definition, Kind},
    log_levels::LogLevels,
    pattern::{entities, network, share},
    reader_profiles::ReaderProfiles,
    view::View,
};
use vocab::{BuildId, DeviceId, EntityId, Mac, Version};

/// What an option's value becomes.
pub(super) trait Field: Sized {
    /// A value in normal form, null where there is none. The definition's kind fits the type.
    fn of(value: &Value, def: &Definition) -> Self;

    /// The value of an option of one meter.
    fn read(from: &View<'_>, def: &Definition) -> Self {
        Self::of(&from.value(def), def)
    }
}

/// Declares a section: a struct, the definitions of its options, and how it is read.
///
/// A field is `name: Type = group, "key", kind, "text", .flag()…;`. One that is an option of each
/// phase is `name: [Type; 3] = group, "_key" env "_KEY", kind, "text of " phase " …", .flag()…;`,
/// without `env` where the original does not have it. A section within another comes last, as
/// `@name: Type;`.
macro_rules! section {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident, $table:ident {
            $($field:ident: $type:ty = $group:expr, $key:literal $(env $env:literal)?, $kind:expr,
                $text:literal $(phase $after:literal)? $(, $(.$method:ident($($arg:expr),*))+)?;)*
            $(@$inner:ident: $section:ty;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $(
                #[doc = concat!("`", $key, "`: ", $text $(, "…", $after)?, ".")]
                $vis $field: $type,
            )*
            $(
                #[doc = concat!("Part of it: [`", stringify!($section), "`].")]
                $vis $inner: $section,
            )*
        }

        #[doc = concat!("Options of [`", stringify!($name), "`].")]
        pub(crate) const $table: &[&[Definition]] = &[$({
            const fn with(def: Definition) -> Definition {
                def$($(.$method($($arg),*))+)?
            }
            options!(with, $group, $key $(env $env)?, $kind, $text $(phase $after)?)
        }),*];

        impl $name {
            /// Each field from its option.
            pub(crate) fn read(from: &View<'_>) -> Self {
                let mut options = $table.iter().copied().flatten();
                let none = Definition::new(Group::Log, "", Kind::Bool, "");
                let mut next = || options.next().unwrap_or(&none);
                Self {
                    $($field: read!(from, next $(, $after)?),)*
                    $($inner: <$section>::read(from),)*
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                View::defaults(Self::read)
            }
        }
    };
}
pub(super) use section;

/// The option of a field, or those of the three phases.
macro_rules! options {
    ($with:ident, $group:expr, $key:literal, $kind:expr, $text:literal) => {
        &[$with(Definition::new($group, $key, $kind, $text))]
    };
    ($with:ident, $group:expr, $key:literal $(env $env:literal)?, $kind:expr,
        $text:literal phase $after:literal) => {
        options!(@phases $with, $group, $key, $kind, $text, $after,
            "a" "A" $($env)?, "b" "B" $($env)?, "c" "C" $($env)?)
    };
    (@phases $with:ident, $group:expr, $key:literal, $kind:expr, $text:literal, $after:literal,
        $($small:literal $large:literal $($env:literal)?),*) => {
        &[$(
            $with(Definition::new(
                $group, concat!($small, $key), $kind, concat!($text, $large, $after),
            ))$(.env(concat!($large, $env)))?
        ),*]
    };
}
pub(super) use options;

/// A field from the next of a section's options, or from those of the three phases.
macro_rules! read {
    ($from:ident, $next:ident) => {
        Field::read($from, $next())
    };
    ($from:ident, $next:ident, $after:literal) => {
        std::array::from_fn(|_| Field::read($from, $next()))
    };
}
pub(super) use read;

/// Declares an option's words and what each means.
macro_rules! choice {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// What its option takes.
            pub(crate) const KIND: Kind = Kind::Choice(&[$($word),*]);

            /// Its word in an options file.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl Field for $name {
            fn of(value: &Value, _: &Definition) -> Self {
                const ALL: &[(&str, $name)] = &[$(($word, $name::$variant)),*];
                let found = ALL.iter().find(|(word, _)| value.as_str() == Some(word));
                found.map_or(ALL[0].1, |(_, meaning)| *meaning)
            }
        }
    };
}
pub(super) use choice;

/// A value, and whether a layer says it beyond the default.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given<T> {
    /// The value, default included.
    pub value: T,
    /// Some layer says it.
    pub said: bool,
}

impl<T: Field> Field for Given<T> {
    fn of(value: &Value, def: &Definition) -> Self {
        Self {
            value: T::of(value, def),
            said: false,
        }
    }

    fn read(from: &View<'_>, def: &Definition) -> Self {
        Self {
            value: T::read(from, def),
            said: from.said(def),
        }
    }
}

impl Field for bool {
    /// Of two words the second is true.
    fn of(value: &Value, def: &Definition) -> Self {
        match (def.kind, value) {
            (Kind::Choice([_, yes]), Value::String(word)) => word == yes,
            _ => value.as_bool().unwrap_or_default(),
        }
    }
}

impl Field for f64 {
    fn of(value: &Value, _: &Definition) -> Self {
        value.as_f64().unwrap_or_default()
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn of(value: &Value, def: &Definition) -> Self {
                Option::of(value, def).unwrap_or_default()
            }
        }

        impl Field for Option<$type> {
            /// The definition's range fits the type.
            fn of(value: &Value, _: &Definition) -> Self {
                value.as_i64().and_then(|n| n.try_into().ok())
            }
        }
    )*};
}
whole_numbers!(u8, u16, u32, u64, usize);

impl Field for Duration {
    /// Of seconds.
    fn of(value: &Value, def: &Definition) -> Self {
        Self::try_from_secs_f64(f64::of(value, def)).unwrap_or_default()
    }
}

impl Field for Option<Duration> {
    /// 0 is none.
    fn of(value: &Value, def: &Definition) -> Self {
        Some(Duration::of(value, def)).filter(|time| !time.is_zero())
    }
}

impl Field for String {
    fn of(value: &Value, _: &Definition) -> Self {
        value.as_str().unwrap_or_default().to_owned()
    }
}

/// What an option of text becomes, none where there is none.
macro_rules! of_text {
    ($($type:ty = $read:expr;)*) => {$(
        impl Field for Option<$type> {
            fn of(value: &Value, _: &Definition) -> Self {
                value.as_str().and_then($read)
            }
        }
    )*};
}
// The definition's form is that of the parser.
of_text! {
    Mac = Mac::parse;
    DeviceId = DeviceId::parse;
    Version = Version::parse;
    BuildId = BuildId::parse;
    String = |text| Some(text.to_owned());
    Secret = |text| Some(Secret(text.to_owned()));
    PathBuf = |text| Some(text.into());
    // The words for all and automatic are none.
    IpAddr = |text| text.parse().ok();
}

impl Field for IpAddr {
    /// The words for all and automatic are the unspecified address.
    fn of(value: &Value, def: &Definition) -> Self {
        Option::of(value, def).unwrap_or(Self::from([0, 0, 0, 0]))
    }
}

impl Field for LogLevels {
    fn of(value: &Value, _: &Definition) -> Self {
        value.as_str().and_then(Self::parse).unwrap_or_default()
    }
}

impl Field for Vec<EntityId> {
    fn of(value: &Value, _: &Definition) -> Self {
        value.as_str().and_then(entities).unwrap_or_default()
    }
}

/// What the items of an option that is a list become, those that are something.
macro_rules! of_items {
    ($($type:ty = $read:expr;)*) => {$(
        impl Field for Vec<$type> {
            fn of(value: &Value, _: &Definition) -> Self {
                let items = value.as_array().into_iter().flatten();
                items.filter_map($read).collect()
            }
        }
    )*};
}
of_items! {
    String = |item| item.as_str().map(str::to_owned);
    u16 = |item| item.as_u64()?.try_into().ok();
    IpNet = |item| network(item.as_str()?);
    (IpNet, f64) = |item| share(item.as_str()?);
}

impl Field for std::sync::Arc<ReaderProfiles> {
    fn of(value: &Value, _: &Definition) -> Self {
        ReaderProfiles::of(value).into()
    }
}

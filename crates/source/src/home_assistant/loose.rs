//! A value of which only one kind is of use: anything else is passed over, and nothing of it is
//! kept.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;

/// A text, a number, yes and no, or the texts of a list; objects and null are nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Loose {
    Text(String),
    Number(Number),
    Bool(bool),
    /// Whatever else is in the list is left out.
    Texts(Vec<String>),
    #[default]
    Other,
}

impl Loose {
    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        if let Self::Number(number) = self {
            number.as_f64()
        } else {
            None
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    /// One text, or those of a list.
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::Texts(texts) => texts,
            _ => &[],
        }
    }
}

/// Lists and what is nothing are shown as nothing.
impl fmt::Display for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Bool(yes) => yes.fmt(f),
            Self::Texts(_) | Self::Other => Ok(()),
        }
    }
}

/// `nested`: in a list, where another list is passed over, however deep it is.
struct Any {
    nested: bool,
}

impl<'de> Visitor<'de> for Any {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Loose, E> {
        Ok(Loose::Bool(yes))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
        Ok(Loose::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(Loose::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
        Ok(Number::from_f64(number).map_or(Loose::Other, Loose::Number))
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let mut texts = Vec::new();
        if self.nested {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Loose::Other);
        }
        while let Some(item) = items.next_element_seed(Any { nested: true })? {
            if let Loose::Text(text) = item {
                texts.push(text);
            }
        }
        Ok(Loose::Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Loose, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Loose;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Loose, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any { nested: false })
    }
}

/// For a member that may say null, which is something else than being left out.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Loose>, D::Error> {
    Loose::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_of_no_use_is_nothing_and_no_error() {
        let loose = |text: &str| serde_json::from_str::<Loose>(text).unwrap();
        assert_eq!(loose(r#""W\n""#).as_str(), Some("W\n"));
        assert_eq!(loose("-1.5").as_f64(), Some(-1.5));
        assert_eq!(loose("7").as_f64(), Some(7.0));
        let large = "12345678901234567890";
        assert_eq!(loose(large).to_string(), large);
        assert_eq!(
            ["true", "false", "1"].map(|t| loose(t).is_true()),
            [true, false, false]
        );
        assert_eq!(
            loose(r#"["a",5,null,["b"],{"x":"y"},"c"]"#).texts(),
            ["a", "c"]
        );
        assert_eq!(loose(r#""a""#).texts(), ["a"]);
        let deep = format!(r#"["a",{}{}]"#, "[".repeat(1000), "]".repeat(1000));
        assert_eq!(loose(&deep).texts(), ["a"]);
        for other in ["null", r#"{"a":"b"}"#, r#"{"a":{"b":[null]}}"#] {
            assert_eq!(loose(other), Loose::Other, "{other}");
        }
        for other in ["null", "1", "-1", "1.5", "true", r#"{"a":"b"}"#, "[]"] {
            assert_eq!(loose(other).texts(), [""; 0], "{other}");
        }
        for list in ["[]", r#"["a"]"#] {
            assert_eq!(loose(list).as_str(), None, "{list}");
            assert_eq!(loose(list).to_string(), "", "{list}");
        }
    }
}

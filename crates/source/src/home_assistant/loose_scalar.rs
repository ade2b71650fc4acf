//! Values of which only one kind is of use: anything else is passed over, and nothing of it is
//! kept.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;

/// A text, a number or yes and no; lists, objects and null are nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum LooseScalar {
    Text(String),
    Number(Number),
    Bool(bool),
    #[default]
    Other,
}

impl LooseScalar {
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
}

impl fmt::Display for LooseScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Bool(yes) => yes.fmt(f),
            Self::Other => Ok(()),
        }
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = LooseScalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<LooseScalar, E> {
        Ok(LooseScalar::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, yes: bool) -> Result<LooseScalar, E> {
        Ok(LooseScalar::Bool(yes))
    }

    fn visit_u64<E>(self, number: u64) -> Result<LooseScalar, E> {
        Ok(LooseScalar::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<LooseScalar, E> {
        Ok(LooseScalar::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<LooseScalar, E> {
        Ok(Number::from_f64(number).map_or(LooseScalar::Other, LooseScalar::Number))
    }

    fn visit_unit<E>(self) -> Result<LooseScalar, E> {
        Ok(LooseScalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<LooseScalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LooseScalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<LooseScalar, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LooseScalar::Other)
    }
}

impl<'de> Deserialize<'de> for LooseScalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

/// For a member that may say null, which is something else than being left out.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LooseScalar>, D::Error> {
    LooseScalar::deserialize(from).map(Some)
}

/// A text, or the texts of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Texts(pub(crate) Vec<String>);

struct AllTexts;

impl<'de> Visitor<'de> for AllTexts {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_unit<E>(self) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = items.next_element::<LooseScalar>()? {
            if let LooseScalar::Text(text) = item {
                texts.push(text);
            }
        }
        Ok(Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Texts, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Texts::default())
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AllTexts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_of_no_use_is_nothing_and_no_error() {
        let loose_scalar = |text: &str| serde_json::from_str::<LooseScalar>(text).unwrap();
        assert_eq!(loose_scalar(r#""W\n""#).as_str(), Some("W\n"));
        assert_eq!(loose_scalar("-1.5").as_f64(), Some(-1.5));
        assert_eq!(loose_scalar("7").as_f64(), Some(7.0));
        assert_eq!(
            loose_scalar("12345678901234567890").to_string(),
            "12345678901234567890"
        );
        assert!(
            loose_scalar("true").is_true()
                && !loose_scalar("false").is_true()
                && !loose_scalar("1").is_true()
        );
        for other in ["null", r#"[1,{"a":["b"]}]"#, r#"{"a":{"b":[null]}}"#] {
            assert_eq!(loose_scalar(other), LooseScalar::Other, "{other}");
        }
        let texts = |text: &str| serde_json::from_str::<Texts>(text).unwrap().0;
        assert_eq!(texts(r#"["a",5,null,["b"],"c"]"#), ["a", "c"]);
        assert_eq!(texts(r#""a""#), ["a"]);
        for other in ["null", "1", "-1", "1.5", "true", r#"{"a":"b"}"#] {
            assert_eq!(texts(other), [""; 0], "{other}");
        }
    }
}

//! One option's value, before it is written to the options file.

use serde_json::Value;

use super::{
    definition::Kind,
    definitions, meters,
    problem::Problem,
    value::{Raw, check},
};
use vocab::Layer;

/// Checks one value as the options file would hold it, and gives its normal form; `None`: not set.
///
/// # Errors
/// The key is unknown, or the value has the wrong type, form or range. Contradictions between
/// options are found by [`super::change_options`].
pub fn validate(key: &str, value: &Value) -> Result<Option<Value>, Box<Problem>> {
    let Some(def) = definitions::find(key) else {
        let nearest = definitions::nearest(key);
        return Err(Box::new(Problem::unknown(
            Layer::File,
            key,
            nearest,
            definitions::find(nearest).map(|d| d.kind),
        )));
    };
    let checked = check(def, &Raw::Json(value.clone()))
        .map_err(|allowed| Box::new(Problem::value(Layer::File, key, Some(def), value, allowed)))?;
    if let (Kind::Meters, Some(Value::Array(entries))) = (def.kind, &checked)
        && let Some(problem) = meters::read(entries, Layer::File).1.into_iter().next()
    {
        return Err(Box::new(problem));
    }
    Ok(checked)
}

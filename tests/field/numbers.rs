//! Numbers as their readers take them from the text.

use virtual_shelly::vocab::Fixed;

/// A sensor that rounds towards zero says "-0.0" at night; a parser that looks at the sign took
/// that for an export.
#[test]
fn there_is_no_negative_zero() {
    for small in [-0.0, -0.04, -0.049] {
        assert_eq!(Fixed::<1>::round(small).to_string(), "0.0", "{small}");
    }
}

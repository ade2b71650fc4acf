//! What tokio-modbus 0.17 cannot read without a panic: "write multiple coils" (15) whose quantity
//! says more coils than the bytes that follow hold.
//!
//! There are no coils, so each such request is refused with exception 01 whatever it wants: its
//! quantity is made 0 on the way in, which the library reads as no coils.

/// Function of a request, at this place of its ADU.
const FUNCTION: usize = 7;
/// Quantity of the function below, at these places.
const QUANTITY: std::ops::RangeInclusive<usize> = 10..=11;
const WRITE_MULTIPLE_COILS: u8 = 15;

/// Follows the ADUs of one connection, however their bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Coils {
    /// Place within the ADU under way.
    at: usize,
    /// Where it ends; known from its sixth byte on.
    end: usize,
    function: u8,
}

impl Coils {
    /// Takes the quantities away, in place.
    pub fn take_from(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            match self.at {
                4 => self.end = usize::from(*byte) << 8,
                5 => self.end += 6 + usize::from(*byte),
                FUNCTION => self.function = *byte,
                place if self.function == WRITE_MULTIPLE_COILS && QUANTITY.contains(&place) => {
                    *byte = 0;
                }
                _ => {}
            }
            self.at += 1;
            if self.at >= 6 && self.at == self.end {
                *self = Self::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adu(pdu: &[u8]) -> Vec<u8> {
        [&[0, 1, 0, 0, 0, pdu.len() as u8 + 1, 1][..], pdu].concat()
    }

    proptest! {
        #[test]
        fn nothing_else_is_touched_however_it_arrives(
            pdus in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            coils in any::<[u8; 7]>(),
            place in any::<prop::sample::Index>(),
            cuts in prop::collection::vec(1..9_usize, 1..20),
        ) {
            let others: Vec<Vec<u8>> = pdus.iter().filter(|pdu| pdu.first() != Some(&15)).map(|pdu| adu(pdu)).collect();
            let at = place.index(others.len() + 1);
            let wire = |coils: &[u8]| {
                let mut all = others.clone();
                all.insert(at, adu(&[&[15], coils].concat()));
                all.concat()
            };
            let (mut bytes, mut left) = (wire(&coils), Coils::default());
            let (mut from, mut cuts) = (0, cuts.into_iter().cycle());
            while from < bytes.len() {
                let to = (from + cuts.next().unwrap_or(1)).min(bytes.len());
                left.take_from(&mut bytes[from..to]);
                from = to;
            }
            let mut none = coils;
            (none[2], none[3]) = (0, 0);
            prop_assert_eq!(bytes, wire(&none));
        }
    }
}

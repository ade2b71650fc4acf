//! Stretches of minute records without gap, kept in memory so that `EMData.GetRecords` reads no
//! rows.

use std::collections::BTreeMap;

use meter::records::Block;

const MINUTE: i64 = 60;

/// The stretches of one meter: start → minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks(BTreeMap<i64, u32>);

impl Blocks {
    /// A minute is there now; one that already was changes nothing.
    pub(super) fn insert(&mut self, ts: i64) {
        let before = self
            .0
            .range(..=ts)
            .next_back()
            .map(|(&start, &n)| (start, n));
        if before.is_some_and(|(start, n)| ts < end(start, n)) {
            return;
        }
        let after = self.0.remove(&(ts + MINUTE)).unwrap_or(0);
        match before {
            Some((start, n)) if end(start, n) == ts => self.0.insert(start, n + 1 + after),
            _ => self.0.insert(ts, 1 + after),
        };
    }

    /// The minutes of `from..to` are gone.
    pub(super) fn remove(&mut self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        let touched: Vec<(i64, u32)> = self
            .0
            .range(..to)
            .rev()
            .take_while(|&(&s, &n)| end(s, n) > from)
            .map(|(&s, &n)| (s, n))
            .collect();
        for (start, n) in touched {
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, minutes(start, from));
            }
            if end(start, n) > to {
                let left = minutes(to, end(start, n));
                self.0
                    .insert(end(start, n) - i64::from(left) * MINUTE, left);
            }
        }
    }

    /// The stretches of the minutes from the one that holds `from` up to `now`: rows of the future
    /// stay hidden.
    pub(super) fn between(&self, from: i64, now: i64) -> Vec<Block> {
        let first = from.saturating_sub(from.rem_euclid(MINUTE));
        let mut seen = self.clone();
        seen.remove(i64::MIN / 4, first.max(i64::MIN / 4));
        let last = now
            .saturating_sub(now.rem_euclid(MINUTE))
            .saturating_add(MINUTE);
        seen.remove(last, i64::MAX / 4);
        seen.0
            .into_iter()
            .map(|(ts, records)| Block { ts, records })
            .collect()
    }
}

fn end(start: i64, n: u32) -> i64 {
    start + i64::from(n) * MINUTE
}

/// Whole minutes that begin inside `from..to`, where `from` or `to` is the border of a minute.
fn minutes(from: i64, to: i64) -> u32 {
    u32::try_from((to - from + MINUTE - 1) / MINUTE).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn naive(set: &BTreeSet<i64>) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for &ts in set {
            match blocks.last_mut() {
                Some(b) if end(b.ts, b.records) == ts => b.records += 1,
                _ => blocks.push(Block { ts, records: 1 }),
            }
        }
        blocks
    }

    proptest! {
        #[test]
        fn as_counted_one_by_one(ops in proptest::collection::vec((0_u8..5, 0_i64..60, 0_i64..10), 0..120), from in 0_i64..3600, now in 0_i64..3600) {
            let (mut blocks, mut set) = (Blocks::default(), BTreeSet::new());
            for (kind, at, len) in ops {
                if kind == 0 {
                    blocks.remove(at * 60, (at + len) * 60);
                    set.retain(|&ts| ts < at * 60 || ts >= (at + len) * 60);
                } else {
                    blocks.insert(at * 60);
                    set.insert(at * 60);
                }
            }
            let seen: BTreeSet<i64> = set.into_iter().filter(|&ts| ts > from - 60 && ts <= now).collect();
            prop_assert_eq!(blocks.between(from, now), naive(&seen));
        }
    }
}

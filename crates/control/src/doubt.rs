//! Whether it is a wrong belief that makes grid power swing.

/// A swing that lasts so long under a belief calls it in question, s.
const LASTS: f64 = 900.0;
/// For so long it is put aside then, s; doubled each time that ended the swing, up to
/// [`ASIDE_MOST`].
const ASIDE: f64 = 300.0;
const ASIDE_MOST: f64 = 4.0 * 3600.0;
/// For so long it is not questioned again where the swing went on without it, s: it is the load's.
const LOAD: f64 = 4.0 * 3600.0;

/// Puts a belief aside under which grid power swings.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// It is put aside.
    pub on: bool,
    /// Since when grid power swings, or the belief is put aside, s.
    since: Option<f64>,
    /// How often that ended a swing.
    wrong: u32,
    /// Until then it is not questioned, s.
    trusted_until: f64,
}

impl Doubt {
    /// A sample: whether grid power swings, and there is a belief.
    pub fn sample(&mut self, now: f64, swings: bool, believes: bool) {
        if self.on {
            let aside = (ASIDE * f64::from(1 << self.wrong.min(8))).min(ASIDE_MOST);
            let since = *self.since.get_or_insert(now);
            if now - since > ASIDE && swings {
                (self.on, self.since, self.trusted_until) = (false, None, now + LOAD);
            } else if now - since > aside {
                self.wrong += 1;
                (self.on, self.since) = (false, None);
            }
        } else if swings && believes && now >= self.trusted_until {
            let since = *self.since.get_or_insert(now);
            if now - since > LASTS {
                (self.on, self.since) = (true, Some(now));
            }
        } else {
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of `hours` for which the belief is put aside, where grid power swings as `swings` says
    /// of whether it is.
    fn aside(hours: u32, swings: fn(bool) -> bool) -> u32 {
        let mut doubt = Doubt::default();
        (0..hours * 3600)
            .map(|second| {
                doubt.sample(f64::from(second), swings(doubt.on), true);
                u32::from(doubt.on)
            })
            .sum()
    }

    #[test]
    fn a_belief_under_which_it_swings_is_put_aside_for_longer_each_time() {
        assert_eq!(aside(1, |_| false), 0);
        let wrong = aside(24, |on| !on);
        assert!(wrong > 18 * 3600, "{wrong} s");
    }

    #[test]
    fn what_swings_without_it_too_is_the_load() {
        let load = aside(24, |_| true);
        assert!(load < 2 * 3600, "{load} s");
    }
}

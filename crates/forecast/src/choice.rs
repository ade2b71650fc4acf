//! Which model speaks: the one that was best over the last days (`docs/forecast.md#how-it-works`):
//! two, or, where a forecast reaches a day itself, the ten of its back-test. There a choice by two
//! days followed luck (EMHASS house, load and net): RMSE 7.5 and 6.5 % above the blend's; by ten
//! days and with big misses guarded 1.4 and 0.7 %.

use super::metrics::Score;
use super::{Horizon, Metric, ModelKind};

/// Days of data below which nothing is chosen, and days of back-test that choose below an hour.
pub const TRAIL_DAYS: usize = 2;
/// A change must be worth more than this share.
const WORTH: f64 = 0.01;
/// Share by which the RMSE of who speaks may lie above the least, where big misses are guarded.
const BIGGER: f64 = 0.02;

/// Whether so many known steps are enough to compare models on: two days, without the holes.
#[must_use]
pub const fn enough(horizon: Horizon, known: usize) -> bool {
    known >= TRAIL_DAYS * horizon.day()
}

/// Choose among models by their scores of the days before. The incumbent stays unless another is
/// better by more than 1 %; the last value speaks when nothing beats it.
///
/// `guarded`: whatever the choice goes by, the big misses of who speaks are about the smallest to be
/// had, RMSE at most 2 % above the least. Below an hour no model could meet that and win on MAE.
#[must_use]
pub fn choose(
    metric: Metric,
    guarded: bool,
    incumbent: ModelKind,
    scores: &[(ModelKind, Score)],
) -> ModelKind {
    let worth = |score: &Score| match metric {
        Metric::Mae => score.mae(),
        Metric::Rmse => score.rmse(),
    };
    let all = scores.iter().filter_map(|(_, score)| score.rmse());
    let bounded = if guarded {
        all.fold(f64::INFINITY, f64::min) * (1.0 + BIGGER)
    } else {
        f64::INFINITY
    };
    let eligible = || {
        scores
            .iter()
            .filter(|(_, score)| score.rmse().is_some_and(|rmse| rmse <= bounded))
    };
    let best = eligible()
        .filter_map(|(kind, score)| Some((*kind, worth(score)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let last = scores
        .iter()
        .find(|(kind, _)| *kind == ModelKind::LastValue)
        .and_then(|(_, score)| worth(score));
    let (Some((best, least)), Some(last)) = (best, last) else {
        return ModelKind::LastValue;
    };
    let stays = eligible()
        .find(|(kind, _)| *kind == incumbent)
        .and_then(|(_, score)| worth(score));
    match stays {
        _ if least >= last => ModelKind::LastValue,
        Some(error) if error <= last && least >= error * (1.0 - WORTH) => incumbent,
        _ => best,
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Scored;
    use super::ModelKind::{LastValue, Mlp, Neighbours};
    use super::*;

    fn score(misses: &[f32]) -> Score {
        let mut score = Score::default();
        for miss in misses {
            score.add(Scored {
                came: *miss,
                line: 0.0,
                last: 0.0,
                band: None,
            });
        }
        score
    }

    /// By the usual miss, with nothing guarded.
    fn plainly(incumbent: ModelKind, scores: &[(ModelKind, Score)]) -> ModelKind {
        choose(Metric::Mae, false, incumbent, scores)
    }

    #[test]
    fn the_best_is_chosen_only_for_more_than_one_percent() {
        let scores = [
            (LastValue, score(&[100.0])),
            (Neighbours, score(&[90.0])),
            (Mlp, score(&[89.5])),
        ];
        assert_eq!(plainly(LastValue, &scores), Mlp);
        assert_eq!(plainly(Neighbours, &scores), Neighbours);
        let near = [(LastValue, score(&[100.0])), (Mlp, score(&[99.5]))];
        assert_eq!(plainly(LastValue, &near), LastValue);
    }

    #[test]
    fn without_skill_or_without_scores_the_last_value_speaks() {
        let scores = [(LastValue, score(&[100.0])), (Mlp, score(&[100.0]))];
        assert_eq!(plainly(Mlp, &scores), LastValue);
        assert_eq!(plainly(Mlp, &[]), LastValue);
        assert_eq!(plainly(Mlp, &[(LastValue, Score::default())]), LastValue);
    }

    #[test]
    fn the_metric_decides() {
        let scores = [
            (LastValue, score(&[60.0, 60.0])),
            (Neighbours, score(&[0.0, 70.0])),
            (Mlp, score(&[42.0, 42.0])),
        ];
        assert_eq!(plainly(LastValue, &scores), Neighbours);
        assert_eq!(choose(Metric::Rmse, false, LastValue, &scores), Mlp);
    }

    #[test]
    fn an_incumbent_that_lost_its_skill_goes_even_for_little() {
        let scores = [
            (LastValue, score(&[100.0])),
            (Neighbours, score(&[100.4])),
            (Mlp, score(&[99.8])),
        ];
        assert_eq!(plainly(Neighbours, &scores), Mlp);
    }

    #[test]
    fn the_guard_keeps_away_who_has_the_smaller_usual_but_bigger_misses() {
        let guarded =
            |incumbent, scores: &[(ModelKind, Score)]| choose(Metric::Mae, true, incumbent, scores);
        let scores = [
            (LastValue, score(&[90.0, 90.0])),
            (Neighbours, score(&[0.0, 70.0])),
            (Mlp, score(&[42.0, 42.0])),
        ];
        assert_eq!(guarded(LastValue, &scores), Mlp);
        assert_eq!(guarded(Neighbours, &scores), Mlp);
        assert_eq!(plainly(LastValue, &scores), Neighbours);
        // Nothing spent on who is within 2 %.
        let near = [
            (LastValue, score(&[90.0])),
            (Neighbours, score(&[50.0])),
            (Mlp, score(&[50.9])),
        ];
        assert_eq!(guarded(Mlp, &near), Neighbours);
    }
}

//! Which model speaks: the one that was best over the last two days (`forecasting.md` 2).

use super::metrics::Score;
use super::{Metric, ModelKind};

/// Days of back-test the choice looks at.
pub const TRAIL_DAYS: usize = 2;
/// A change must be worth more than this share.
const WORTH: f64 = 0.01;

/// Choose among models by their scores of the last two days. The incumbent stays unless another
/// is better by more than 1 %; the last value speaks when nothing beats it.
#[must_use]
pub fn choose(metric: Metric, incumbent: ModelKind, scores: &[(ModelKind, Score)]) -> ModelKind {
    let worth = |score: &Score| match metric {
        Metric::Mae => score.mae(),
        Metric::Rmse => score.rmse(),
    };
    let of = |kind| scores.iter().find(|(k, _)| *k == kind).and_then(|(_, s)| worth(s));
    let best = scores.iter().filter_map(|(kind, score)| Some((*kind, worth(score)?))).min_by(|a, b| a.1.total_cmp(&b.1));
    let (Some((best, least)), Some(last)) = (best, of(ModelKind::LastValue)) else {
        return ModelKind::LastValue;
    };
    match of(incumbent) {
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
            score.add(Scored { came: *miss, line: 0.0, last: 0.0, band: None });
        }
        score
    }

    #[test]
    fn the_best_is_chosen_only_for_more_than_one_percent() {
        let scores = [(LastValue, score(&[100.0])), (Neighbours, score(&[90.0])), (Mlp, score(&[89.5]))];
        assert_eq!(choose(Metric::Mae, LastValue, &scores), Mlp);
        assert_eq!(choose(Metric::Mae, Neighbours, &scores), Neighbours);
        let near = [(LastValue, score(&[100.0])), (Mlp, score(&[99.5]))];
        assert_eq!(choose(Metric::Mae, LastValue, &near), LastValue);
    }

    #[test]
    fn without_skill_or_without_scores_the_last_value_speaks() {
        let scores = [(LastValue, score(&[100.0])), (Mlp, score(&[100.0]))];
        assert_eq!(choose(Metric::Mae, Mlp, &scores), LastValue);
        assert_eq!(choose(Metric::Mae, Mlp, &[]), LastValue);
        assert_eq!(choose(Metric::Mae, Mlp, &[(LastValue, Score::default())]), LastValue);
    }

    #[test]
    fn the_metric_decides() {
        let scores = [(LastValue, score(&[60.0, 60.0])), (Neighbours, score(&[0.0, 70.0])), (Mlp, score(&[42.0, 42.0]))];
        assert_eq!(choose(Metric::Mae, LastValue, &scores), Neighbours);
        assert_eq!(choose(Metric::Rmse, LastValue, &scores), Mlp);
    }

    #[test]
    fn an_incumbent_that_lost_its_skill_goes_even_for_little() {
        let scores = [(LastValue, score(&[100.0])), (Neighbours, score(&[100.4])), (Mlp, score(&[99.8]))];
        assert_eq!(choose(Metric::Mae, Neighbours, &scores), Mlp);
    }
}

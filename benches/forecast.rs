use std::sync::atomic::AtomicBool;
use virtual_shelly::forecast::*;
fn main() {
    let dir = std::env::var("FORECAST_DATA").unwrap();
    let only = std::env::var("ONLY").unwrap_or_default();
    let read = |f: &str, skip: usize, col: usize, minus: Option<usize>| {
        let t = std::fs::read_to_string(format!("{dir}/{f}")).unwrap();
        let mut w: Vec<f32> = t
            .lines()
            .filter(|l| !l.starts_with('#') && !l.starts_with("ts"))
            .map(|l| {
                let c: Vec<&str> = l.split(',').collect();
                let g = |i: usize| c[i].parse::<f32>().ok();
                let v = g(col).unwrap_or(f32::NAN);
                v - minus.map_or(0.0, |m| g(m).unwrap_or(0.0))
            })
            .skip(skip)
            .collect();
        grid::fill_linearly(&mut w);
        w
    };
    let h = |step, window, steps| Horizon { step, window, steps };
    let cases = [
        ("synth_plain_2s.csv", 0, 0, None, h(2, 30, 30), 5, 2, 15),
        ("synth_pv_2s.csv", 0, 0, None, h(2, 30, 30), 5, 2, 15),
        ("synth_pvbat_2s.csv", 0, 0, None, h(2, 30, 30), 5, 2, 15),
        ("uci_house_1min.csv", 396, 1, None, h(60, 30, 15), 20, 6, 3),
        ("emhass_house_30min.csv", 246, 1, None, h(1800, 48, 48), 60, 195, 1),
        ("emhass_house_30min.csv", 246, 1, Some(2), h(1800, 48, 48), 60, 195, 1),
    ];
    for (f, skip, col, minus, horizon, tr, te, stride) in cases {
        if !f.contains(&only) {
            continue;
        }
        let w = read(f, skip, col, minus);
        let p = rolling::Protocol {
            horizon,
            train_days: tr,
            test_days: te,
            stride,
            metric: Metric::Mae,
            models: ModelKind::ALL.to_vec(),
            seed: 42,
            drawn: 0,
        };
        let c0 = cost::cpu_seconds();
        let no = AtomicBool::new(false);
        let r = rolling::backtest(&w, &p, &mut Job::new(&no, &mut |_| {})).unwrap();
        println!(
            "{f} origins {} spoke {:?} cpu {:.1} rss {:?}",
            r.test.origins,
            r.test.spoke,
            cost::cpu_seconds() - c0,
            cost::peak_rss_mb()
        );
        let show = |n: &str, s: &metrics::Score, t: Option<f64>| {
            let m = s.metrics(&metrics::Mape::default());
            println!(
                "  {n:12} mae {:7.1} rmse {:7.1} skill {:6.3} {:6.3} pin {:7.2} cov {:5.3} t {:.2}",
                m.mae.unwrap(),
                m.rmse.unwrap(),
                m.skill.unwrap(),
                m.skill_rmse.unwrap(),
                m.pinball.unwrap_or(f64::NAN),
                m.coverage.unwrap_or(f64::NAN),
                t.unwrap_or(f64::NAN)
            )
        };
        for k in &r.kinds {
            show(k.name(), &r.test.scores[k.index()], r.seconds[k.index()])
        }
        show("chosen", &r.test.chosen, None);
    }
}

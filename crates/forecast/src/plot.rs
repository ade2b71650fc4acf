//! A forecast as a picture (`--plot FILE.svg`): what came, the dashed line, its band.

use std::path::Path;

use plotters::prelude::*;

/// Red of the forecast, as on the dashboard.
const LINE: RGBColor = RGBColor(0xd3, 0x2f, 0x2f);
/// Blue of what came.
const CAME: RGBColor = RGBColor(0x15, 0x65, 0xc0);

/// One step of a forecast: place on the time axis, line, band.
pub type Step = (f64, f32, Option<(f32, f32)>);

/// What to draw; times in units of `unit`.
#[derive(Debug, Default)]
pub struct Picture {
    /// Over the picture.
    pub title: String,
    /// Under the time axis.
    pub unit: String,
    /// What came: time and W.
    pub came: Vec<(f64, f32)>,
    /// Forecasts, each from its beginning to its end.
    pub forecasts: Vec<Vec<Step>>,
}

/// Write a picture as SVG.
///
/// # Errors
/// One line when there is nothing to draw or the file cannot be written.
pub fn write(path: &Path, picture: &Picture) -> anyhow::Result<()> {
    let failed = |e: String| anyhow::anyhow!("cannot write {}: {e}", path.display());
    let svg = draw(picture).map_err(failed)?;
    std::fs::write(path, svg).map_err(|e| failed(e.to_string()))
}

/// A picture as SVG text.
///
/// # Errors
/// What the drawing library says, or that there is nothing to draw.
pub fn draw(picture: &Picture) -> Result<String, String> {
    let steps = || picture.forecasts.iter().flatten();
    let bands = || steps().filter_map(|s| s.2);
    let times = picture.came.iter().map(|p| p.0).chain(steps().map(|s| s.0));
    let watts = picture.came.iter().map(|p| p.1).chain(steps().map(|s| s.1));
    let watts = watts.chain(bands().flat_map(|b| [b.0, b.1]));
    let (Some((left, right)), Some((low, high))) = (range(times), range(watts.map(f64::from)))
    else {
        return Err("there is nothing to draw".to_owned());
    };
    let margin = (0.05 * (high - low)).max(1.0);
    // Above everything there is room for the legend.
    let top = high + 4.0 * margin;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1000, 480)).into_drawing_area();
        paint(
            &area,
            picture,
            left..right.max(left + 1e-9),
            low - margin..top,
        )
        .map_err(|e| e.to_string())?;
        area.present().map_err(|e| e.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn paint(
    area: &Area<'_>,
    picture: &Picture,
    times: std::ops::Range<f64>,
    watts: std::ops::Range<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(&picture.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(times.clone(), watts.clone())?;
    let whole = |v: &f64| format!("{v:.0}");
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(&picture.unit)
        .y_desc("W")
        .x_label_formatter(&|t| format!("{}", (t * 100.0).round() / 100.0))
        .y_label_formatter(&whole)
        .draw()?;
    if watts.contains(&0.0) {
        chart.draw_series(LineSeries::new(
            [(times.start, 0.0), (times.end, 0.0)],
            BLACK.mix(0.6),
        ))?;
    }
    for forecast in &picture.forecasts {
        let banded = || forecast.iter().filter_map(|s| Some((s.0, s.2?)));
        let lower = banded().map(|(t, (lo, _))| (t, f64::from(lo)));
        let upper = banded().map(|(t, (_, hi))| (t, f64::from(hi)));
        let outline: Vec<(f64, f64)> = lower.chain(upper.rev()).collect();
        if outline.len() > 2 {
            chart.draw_series(std::iter::once(Polygon::new(outline, LINE.mix(0.15))))?;
        }
    }
    let came = picture.came.iter().map(|&(t, w)| (t, f64::from(w)));
    chart
        .draw_series(LineSeries::new(came, CAME.stroke_width(1)))?
        .label("measured")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], CAME));
    for (i, forecast) in picture.forecasts.iter().enumerate() {
        let line = forecast.iter().map(|s| (s.0, f64::from(s.1)));
        let drawn = chart.draw_series(DashedLineSeries::new(line, 5, 3, LINE.stroke_width(2)))?;
        if i == 0 {
            drawn
                .label("forecast, P10–P90")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], LINE));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|v| v.is_finite())
        .fold(None, |range, v| match range {
            None => Some((v, v)),
            Some((lo, hi)) => Some((v.min(lo), v.max(hi))),
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_picture_holds_line_band_and_what_came() {
        let picture = Picture {
            title: "the next minute".to_owned(),
            unit: "s".to_owned(),
            came: (0..30).map(|i| (f64::from(i), i as f32)).collect(),
            forecasts: vec![
                (30..40)
                    .map(|i| (f64::from(i), 30.0, Some((20.0, 45.0))))
                    .collect(),
            ],
        };
        let svg = draw(&picture).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.contains("polygon") && svg.contains("the next minute")
        );
        assert!(svg.contains("#D32F2F") && svg.contains("#1565C0"));
        assert!(svg.contains("measured") && !svg.contains(".0\n"), "{svg}");
        assert!(draw(&Picture::default()).is_err());
    }
}

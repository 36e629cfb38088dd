//! Accuracy over seconds as a picture in the terminal.

use crate::common::mean::{Mean, between};
use crate::contest::Contest;
use crate::record::Run;

const COLUMNS: usize = 64;
const ROWS: usize = 16;
/// How far below the worst result the picture begins: the first epochs would flatten the rest.
const BELOW: f64 = 0.03;

/// A point: seconds, accuracy.
type Point = (f64, f64);

/// Means over the seeds: the results of all layers by the length of the schedule, joined by a line, and
/// both long runs epoch by epoch.
pub(crate) fn draw(contests: &[Contest]) -> String {
    let of = |run: fn(&Contest) -> &Run| mean(contests, |contest| run(contest).points());
    let (all, freezing) = (of(|contest| &contest.all), of(|contest| &contest.freezing));
    let mut baseline = mean(contests, Contest::baseline);
    baseline.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lowest = baseline.iter().chain(freezing.last()).map(|point| point.1);
    let floor = lowest.fold(1.0, f64::min) - BELOW;
    let every = || all.iter().chain(&freezing).chain(&baseline);
    let top = every().map(|point| point.1).fold(floor, f64::max);
    let end = every().map(|point| point.0).fold(0.0, f64::max);

    let mut canvas = Canvas { end, floor, top, cells: vec![vec![' '; COLUMNS]; ROWS] };
    canvas.line(&baseline, '·');
    canvas.line(&freezing, '╌');
    canvas.points(&all, '○');
    canvas.points(&baseline, '□');
    canvas.points(&freezing, '●');
    let legend = "● progressive freezing   ○ all layers trained, after each epoch\n\
                  □ all layers on schedules of several lengths: their results";
    format!("{}\n{legend}\n", canvas.text())
}

/// The mean of what each seed's runs have at the same place.
fn mean(contests: &[Contest], points: impl Fn(&Contest) -> Vec<Point>) -> Vec<Point> {
    let each: Vec<Vec<Point>> = contests.iter().map(points).collect();
    let count = each.iter().map(Vec::len).min().unwrap_or(0);
    let of = |at: usize, part: fn(&Point) -> f64| Mean::of(each.iter().map(|run| part(&run[at])));
    (0..count).map(|at| (of(at, |p| p.0).mean, of(at, |p| p.1).mean)).collect()
}

struct Canvas {
    end: f64,
    floor: f64,
    top: f64,
    cells: Vec<Vec<char>>,
}

impl Canvas {
    fn points(&mut self, points: &[Point], mark: char) {
        points.iter().for_each(|&point| self.mark(point, mark));
    }

    fn line(&mut self, points: &[Point], mark: char) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        for column in 0..COLUMNS {
            let x = self.end * column as f64 / (COLUMNS - 1) as f64;
            if (first.0..=last.0).contains(&x) {
                self.mark((x, between(points, x)), mark);
            }
        }
    }

    /// Below the floor nothing is drawn.
    fn mark(&mut self, (x, y): Point, mark: char) {
        let place = |share: f64, size: usize| (share * (size - 1) as f64).round() as usize;
        if y >= self.floor {
            let column = place(x / self.end, COLUMNS);
            let row = place((self.top - y) / (self.top - self.floor), ROWS);
            if let Some(cell) = self.cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                *cell = mark;
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::from("test accuracy\n");
        for (at, row) in self.cells.iter().enumerate() {
            let height = self.top - (self.top - self.floor) * at as f64 / (ROWS - 1) as f64;
            let label = match at % 5 {
                0 => format!("{:5.1} % ┤", 100.0 * height),
                _ => "        │".to_string(),
            };
            let row: String = row.iter().collect();
            text += &format!("{label}{}\n", row.trim_end());
        }
        let end = format!("{:.1} s of training", self.end);
        text + &format!("        └{}\n         0{end:>1$}", "─".repeat(COLUMNS), COLUMNS - 1)
    }
}

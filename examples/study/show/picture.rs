//! Accuracy over time as an SVG: training all layers on schedules of several lengths as a line, every policy
//! as a numbered point.

use super::groups::{Group, Task};

const WIDTH: f64 = 760.0;
/// Of the part that is drawn to scale.
const HEIGHT: f64 = 320.0;
/// Room beside, above and below it.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 36.0;
const BELOW: f64 = 50.0;
/// The height of a line of the key.
const LINE: f64 = 20.0;
/// How far under the worst result of all layers the scale begins: what is lower is told in the key alone.
const ROOM: f64 = 0.02;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1b1f24}.soft{fill:#59636e}\
.grid{stroke:#d9dee4}.all{fill:none;stroke:#0a66c2;stroke-width:2}.box{fill:#0a66c2}\
.cached{fill:#e08a00}.plain{fill:#6b7480}.no{fill:#fff;font-size:11px;font-weight:600;text-anchor:middle}\
.right{text-anchor:end}.middle{text-anchor:middle}\
@media(prefers-color-scheme:dark){text{fill:#e7ebf0}.soft{fill:#9aa5b1}.grid{stroke:#2c343d}\
.all{stroke:#4aa3ff}.box{fill:#4aa3ff}.no{fill:#0f1318}.cached{fill:#f5a524}.plain{fill:#9aa5b1}}";

/// Where seconds and accuracies lie in the picture.
struct Scale {
    seconds: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds
    }

    fn y(&self, accuracy: f64) -> f64 {
        TOP + HEIGHT * (self.high - accuracy) / (self.high - self.low)
    }
}

/// The picture of a task; what trains another model or on other samples is left out.
pub(super) fn draw(task: &Task<'_>) -> String {
    let own = task.own();
    let seconds = |group: &Group<'_>| group.mean(|found| found.seconds).mean;
    let whole = task.baseline(&own).last().map(|all| seconds(all));
    // By the share of the same seeds, where some ran on a slower day.
    let place = |group: &Group<'_>| {
        let share = whole.zip(task.share(group)).map(|(whole, share)| whole * share);
        (share.unwrap_or_else(|| seconds(group)), group.accuracy().mean)
    };
    let all: Vec<(f64, f64)> = task.baseline(&own).into_iter().map(place).collect();
    let drawn =
        |group: &&Group<'_>| !group.row.trains_all() && group.row.plain().is_comparable(&own);
    let policies: Vec<&Group<'_>> = task.groups.iter().filter(drawn).collect();
    let points: Vec<(f64, f64)> = policies.iter().map(|group| place(group)).collect();
    let every = || all.iter().chain(&points);
    let worst = all.iter().chain(&points[..points.len().min(usize::from(all.is_empty()))]);
    let low = worst.map(|point| point.1).fold(1.0, f64::min) - ROOM;
    let scale = Scale {
        seconds: every().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max) * 1.04,
        low,
        high: every().map(|point| point.1).fold(low + ROOM, f64::max) + ROOM / 4.0,
    };
    let key = TOP + HEIGHT + BELOW;
    let lines = policies.len().div_ceil(2) + 1;
    let height = key + LINE * lines as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"accuracy over seconds of training\">\n<style>{STYLE}</style>\n"
    );
    svg += &grid(task, &scale);
    let line: Vec<String> =
        all.iter().map(|&(x, y)| format!("{:.1},{:.1}", scale.x(x), scale.y(y))).collect();
    svg += &format!("<polyline class=\"all\" points=\"{}\"/>\n", line.join(" "));
    for &(x, y) in &all {
        let (x, y) = (scale.x(x) - 4.0, scale.y(y) - 4.0);
        svg +=
            &format!("<rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"8\" height=\"8\"/>\n");
    }
    svg += &format!(
        "<rect class=\"box\" x=\"{LEFT}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>",
        key - 9.0
    );
    svg += &text("", LEFT + 16.0, key, "all layers trained, on schedules of several lengths");
    for (at, (group, &(x, y))) in policies.iter().zip(&points).enumerate() {
        let below = y < scale.low;
        if !below {
            svg += &mark(at, group, scale.x(x), scale.y(y));
        }
        let column = LEFT + (at % 2) as f64 * (WIDTH - LEFT) / 2.0;
        let row = key + LINE * (1 + at / 2) as f64;
        svg += &mark(at, group, column + 4.0, row - 5.0);
        svg += &text("", column + 18.0, row, &named(group, below.then_some(y)));
    }
    svg + "</svg>\n"
}

/// Lines of equal accuracy, and what the axes count.
fn grid(task: &Task<'_>, scale: &Scale) -> String {
    let step = if scale.high - scale.low > 0.08 { 0.02 } else { 0.01 };
    let first = (scale.low / step).ceil() as usize;
    let last = (scale.high / step).floor() as usize;
    let mut svg = String::new();
    for tick in first..=last {
        let accuracy = tick as f64 * step;
        let y = scale.y(accuracy);
        svg += &format!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/>", WIDTH - RIGHT);
        svg += &text("soft right", LEFT - 8.0, y + 4.0, &format!("{:.0} %", 100.0 * accuracy));
    }
    for tick in 0..=4 {
        let seconds = scale.seconds * f64::from(tick) / 4.0;
        let decimals = usize::from(scale.seconds < 20.0);
        let label = format!("{seconds:.decimals$}{}", if tick == 0 { " s" } else { "" });
        svg += &text("soft middle", scale.x(seconds), TOP + HEIGHT + 18.0, &label);
    }
    svg + &text("", LEFT, 18.0, &format!("{}: accuracy over seconds of training", task.name))
}

/// A point with its number; one with a cache has another colour.
fn mark(at: usize, group: &Group<'_>, x: f64, y: f64) -> String {
    let colour = if group.row.cache == crate::row::Cache::Off { "plain" } else { "cached" };
    let circle = format!("<circle class=\"{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\"/>");
    circle + &text("no", x, y + 4.0, &(at + 1).to_string())
}

/// The name, cut to what a column has room for; with the accuracy of one that lies below the picture.
fn named(group: &Group<'_>, below: Option<f64>) -> String {
    let mut more = String::new();
    if group.row.cache != crate::row::Cache::Off {
        more += ", cache";
    }
    if let Some(accuracy) = below {
        more += &format!(": {:.1} %, below", 100.0 * accuracy);
    }
    let room = 44 - more.chars().count();
    let name = &group.row.name;
    match name.char_indices().nth(room) {
        Some((end, _)) => format!("{}…{more}", &name[..end]),
        None => format!("{name}{more}"),
    }
}

fn text(class: &str, x: f64, y: f64, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>\n")
}

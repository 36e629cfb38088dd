//! Which metrics share a chart.

use super::axis::Unit;
use super::series::Series;

/// Metrics of one chart.
pub(super) struct Group<'a> {
    pub(super) title: String,
    pub(super) unit: Unit,
    pub(super) series: Vec<&'a Series>,
}

/// Groups in the order of their first metrics, the losses first.
pub(super) fn groups(series: &[Series]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for series in series {
        let (title, unit) = (title(&series.name), unit(&series.name));
        match groups.iter_mut().find(|group| group.title == title && group.unit == unit) {
            Some(group) => group.series.push(series),
            None => groups.push(Group { title, unit, series: vec![series] }),
        }
    }
    groups.sort_by_key(|group| !group.title.contains("loss"));
    groups
}

/// Parts of the data, whose metrics of one name belong side by side.
const PARTS: [&str; 8] = ["train", "training", "valid", "validation", "val", "test", "eval", "dev"];

fn title(name: &str) -> String {
    match name.split_once('/') {
        Some((part, rest)) if PARTS.contains(&part) => rest.to_string(),
        Some(_) => name.rsplit_once('/').map_or(name, |(group, _)| group).to_string(),
        None => name.to_string(),
    }
}

fn unit(name: &str) -> Unit {
    let is = |word: &str| match word {
        "bytes" => Some(Unit::Bytes),
        "seconds" => Some(Unit::Seconds),
        "percentage" | "share" | "fraction" | "accuracy" => Some(Unit::Share),
        _ => None,
    };
    name.split(['/', '_', '.', ' ']).find_map(is).unwrap_or(Unit::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_metrics_share_a_chart() {
        let names = [
            "layer_freezing/layers_frozen",
            "layer_freezing/percentage_frozen",
            "train/loss",
            "cache/hits",
            "cache/disk_bytes",
            "valid/loss",
            "cache/misses",
            "cache/memory_bytes",
            "seconds/backward",
            "plain",
        ];
        let series = names.map(Series::new);
        let found = groups(&series).into_iter().map(|group| {
            let names: Vec<&str> = group.series.iter().map(|series| &*series.name).collect();
            (group.unit, names.join(" "))
        });
        let expected = [
            (Unit::Plain, "train/loss valid/loss"),
            (Unit::Plain, "layer_freezing/layers_frozen"),
            (Unit::Share, "layer_freezing/percentage_frozen"),
            (Unit::Plain, "cache/hits cache/misses"),
            (Unit::Bytes, "cache/disk_bytes cache/memory_bytes"),
            (Unit::Seconds, "seconds/backward"),
            (Unit::Plain, "plain"),
        ];
        assert!(found.eq(expected.map(|(unit, names)| (unit, names.to_string()))));
    }
}

use super::*;
use crate::kernel::conv::Axis;

const BATCH: usize = 3;

fn axis(input: usize, kernel: usize, [padding, stride, dilation]: [usize; 3]) -> Option<Axis> {
    let gaps = (input + 2 * padding).checked_sub(dilation * (kernel - 1) + 1)?;
    Some(Axis { input, kernel, output: gaps / stride + 1, padding, stride, dilation })
}

/// Every element of a tile's columns: its place in the inputs, if it is not padding.
fn sources(tile: &Tile<'_>) -> Vec<Option<usize>> {
    let g = tile.geometry;
    let mut all = Vec::new();
    for tap in 0..g.taps() {
        let (tap_y, tap_x) = (tap / g.width.kernel % g.height.kernel, tap % g.width.kernel);
        let channel = tile.group * g.group_in() + tap / (g.width.kernel * g.height.kernel);
        for row in tile.rows.clone() {
            let (sample, row) = (row / g.height.output, row % g.height.output);
            let line = g.height.source(row, tap_y);
            all.extend((0..g.width.output).map(|out| {
                let place = line? * g.width.input + g.width.source(out, tap_x)?;
                Some((sample * g.channels_in + channel) * g.height.input * g.width.input + place)
            }));
        }
    }
    all
}

/// Whatever the settings, and wherever a tile cuts through a sample.
#[test]
fn columns_are_what_each_place_of_the_kernel_reads() {
    let mut shifts = 0;
    for kernel in 1..=4 {
        for settings in [[0, 1, 1], [1, 1, 1], [2, 1, 2], [1, 2, 1], [3, 3, 2], [0, 2, 1]] {
            for (high, wide) in [(5, 4), (1, 7), (4, 1), (6, 6)] {
                let axes = axis(high, kernel, settings).zip(axis(wide, kernel, settings));
                let Some((height, width)) = axes else { continue };
                let channels_in = 4;
                let g = Geometry {
                    batch: BATCH,
                    channels_in,
                    channels_out: 2,
                    groups: 2,
                    height,
                    width,
                };
                shifts += usize::from(settings[1] == 1 && width.output == wide);
                let x: Vec<f64> = (1..=BATCH * g.sample_in()).map(|i| i as f64).collect();
                for rows in [0..BATCH * height.output, 1..height.output + 2, 2..3] {
                    let rows = rows.start..rows.end.min(BATCH * height.output);
                    if rows.is_empty() {
                        continue;
                    }
                    let tile = Tile { geometry: &g, group: 1, rows };
                    let sources = sources(&tile);
                    let mut columns = vec![f64::NAN; sources.len()];
                    tile.gather(&x, &mut columns);
                    let expected: Vec<f64> =
                        sources.iter().map(|place| place.map_or(0.0, |place| x[place])).collect();
                    assert!(columns == expected, "{g:?} {:?}", tile.rows);

                    // What is in the padding's place is not added.
                    let mut columns: Vec<f64> =
                        (0..sources.len()).map(|i| 0.1 + i as f64).collect();
                    let mut expected = vec![0.0; x.len()];
                    for (place, column) in sources.iter().zip(&mut columns) {
                        match place {
                            Some(place) => expected[*place] += *column,
                            None => *column = f64::NAN,
                        }
                    }
                    let mut sums = vec![0.0; x.len()];
                    tile.scatter(&mut columns, &mut sums);
                    assert!(sums == expected, "{g:?} {:?}", tile.rows);
                }
            }
        }
    }
    assert!(shifts > 5, "{shifts}");
}

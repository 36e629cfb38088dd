//! The choice with the greatest value within two limits: a knapsack whose first item fixes a cost.

use super::bound::{Item, Ordered};

/// What is chosen first, with the items that may then be added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) value: f64,
    pub(super) cost: [f64; 2],
    /// The items in front of this one may be added.
    pub(super) items: usize,
}

/// The best choice that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Best {
    pub(super) start: usize,
    /// By place, ascending.
    pub(super) items: Vec<usize>,
    pub(super) value: f64,
    /// No choice has a greater value.
    pub(super) bound: f64,
}

/// How many partial choices are looked at. Of fifty items a hundredth of it is usually enough to prove
/// the best one; where it is not enough, [`Best::bound`] says how much may be missing.
const LOOKS: usize = 1 << 19;

/// A start that is within the limits, and its items.
struct Open {
    start: usize,
    value: f64,
    room: [f64; 2],
    ordered: Ordered,
}

/// A partial choice: what was decided of the items in front of `next`.
struct Partial {
    next: usize,
    value: f64,
    room: [f64; 2],
    /// What is left of both limits, weighed together.
    left: f64,
    /// How many items had been taken before the last one.
    before: usize,
    last: Option<usize>,
}

/// The best start with the best of its items; `None` if no start is within `limit`.
///
/// Of each start the items are tried in the order of value for cost, taken first and then left out. A
/// partial choice is given up where the rest, filled with an item in part, would not beat the best one.
pub(super) fn best(items: &[Item], starts: &[Start], limit: [f64; 2]) -> Option<Best> {
    let opened = starts.iter().enumerate().filter_map(|(start, of)| {
        let room = [limit[0] - of.cost[0], limit[1] - of.cost[1]];
        let ordered = || Ordered::new(items.get(..of.items).unwrap_or(items), room);
        let fits = room[0] >= 0.0 && room[1] >= 0.0;
        fits.then(|| Open { start, value: of.value, room, ordered: ordered() })
    });
    let mut open: Vec<Open> = opened.collect();
    // The most promising first: what it finds spares the search of others.
    open.sort_by(|a, b| b.bound().total_cmp(&a.bound()));
    let mut best: Option<Best> = None;
    let (mut looks, mut missed) = (LOOKS, f64::NEG_INFINITY);
    for open in open {
        // Half of what is left, and always enough to go through all items once.
        let most = (looks / 2).max(4 * open.ordered.len() + 16);
        let looked = open.search(&mut best, most);
        missed = looked.missed.map_or(missed, |bound| missed.max(bound));
        looks = looks.saturating_sub(looked.looks);
    }
    best.map(|mut best| {
        best.items.sort_unstable();
        Best { bound: best.value.max(missed), ..best }
    })
}

/// How a search went.
struct Looked {
    looks: usize,
    /// If it was given up, the value that what was not looked at may have.
    missed: Option<f64>,
}

impl Open {
    fn bound(&self) -> f64 {
        self.ordered.bound(0, self.value, 1.0)
    }

    /// Improves on `best`, if there is anything better, with at most so many looks.
    fn search(&self, best: &mut Option<Best>, most: usize) -> Looked {
        let bound = |open: &Partial| self.ordered.bound(open.next, open.value, open.left);
        let (value, room) = (self.value, self.room);
        let mut stack = vec![Partial { next: 0, value, room, left: 1.0, before: 0, last: None }];
        let mut path: Vec<usize> = Vec::new();
        let mut looks = 0;
        while let Some(partial) = stack.pop() {
            let least = best.as_ref().map_or(f64::NEG_INFINITY, |best| best.value);
            if bound(&partial) <= least {
                continue;
            }
            if looks == most {
                let missed = stack.iter().map(bound).fold(bound(&partial), f64::max);
                return Looked { looks, missed: Some(missed) };
            }
            looks += 1;
            let Partial { next, value, room, left, before, last } = partial;
            path.truncate(before);
            path.extend(last);
            if value > least {
                *best = Some(Best { start: self.start, items: path.clone(), value, bound: value });
            }
            let Some((place, item)) = self.ordered.fitting(next, room) else { continue };
            let before = path.len();
            let next = self.ordered.without(place);
            stack.push(Partial { next, value, room, left, before, last: None });
            stack.push(Partial {
                next: place + 1,
                value: value + item.value,
                room: [room[0] - item.cost[0], room[1] - item.cost[1]],
                left: left - item.weight,
                before,
                last: Some(item.index),
            });
        }
        Looked { looks, missed: None }
    }
}

//! How much value still fits at most: items by value for cost, the last one in part.

/// Something that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) value: f64,
    /// At least 0, as counted by each limit.
    pub(super) cost: [f64; 2],
}

/// An item with its place among all, and its cost in both limits as a share of the room, weighed
/// together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) index: usize,
    pub(super) value: f64,
    pub(super) cost: [f64; 2],
    pub(super) weight: f64,
}

/// The items that are worth something and fit into the room, the most value for weight first.
pub(super) struct Ordered {
    candidates: Vec<Candidate>,
    /// The weight and the value of the candidates before each, and of all.
    sums: Vec<(f64, f64)>,
}

/// In how many parts the way from one limit alone to the other alone is divided.
const MIXES: u32 = 8;

impl Ordered {
    /// The two limits are weighed so that the bound is the smallest: what keeps both keeps any mixture.
    pub(super) fn new(items: &[Item], room: [f64; 2]) -> Self {
        let fit = |(_, item): &(usize, &Item)| item.value > 0.0 && fits(item.cost, room);
        let shares: Vec<Candidate> = (items.iter().enumerate().filter(fit))
            .map(|(index, &Item { value, cost })| Candidate { index, value, cost, weight: 0.0 })
            .collect();
        // One limit alone, where the other is none.
        let mixes = match room.map(f64::is_finite) {
            [true, true] => 0..=MIXES,
            [_, false] => MIXES..=MIXES,
            [false, true] => 0..=0,
        };
        let mixed = mixes.map(|mix| {
            let mix = f64::from(mix) / f64::from(MIXES);
            let weight = |cost: [f64; 2]| {
                mix * share(cost[0], room[0]) + (1.0 - mix) * share(cost[1], room[1])
            };
            let weighed = |item: &Candidate| Candidate { weight: weight(item.cost), ..*item };
            Self::by_density(shares.iter().map(weighed).collect())
        });
        let bound = |ordered: &Self| ordered.bound(0, 0.0, 1.0);
        let least = mixed.min_by(|a, b| bound(a).total_cmp(&bound(b)));
        least.unwrap_or_else(|| Self::by_density(Vec::new()))
    }

    fn by_density(mut candidates: Vec<Candidate>) -> Self {
        let density = |item: &Candidate| item.value / item.weight;
        candidates.sort_by(|a, b| density(b).total_cmp(&density(a)));
        let mut sums = vec![(0.0, 0.0)];
        let (mut weights, mut values) = (0.0, 0.0);
        for item in &candidates {
            (weights, values) = (weights + item.weight, values + item.value);
            sums.push((weights, values));
        }
        Self { candidates, sums }
    }

    pub(super) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// The most that `value` can grow to by the candidates from `next` on, if `left` of the weight is
    /// left.
    pub(super) fn bound(&self, next: usize, value: f64, left: f64) -> f64 {
        let Some(&(weight, before)) = self.sums.get(next) else { return value };
        let full = weight + left.max(0.0);
        let rest = self.sums.get(next + 1..).unwrap_or_default();
        let whole = rest.partition_point(|(weight, _)| *weight <= full);
        let last = next + whole;
        let (weight, values) = self.sums.get(last).copied().unwrap_or((weight, before));
        let part = match self.candidates.get(last) {
            Some(item) => (full - weight) / item.weight * item.value,
            None => 0.0,
        };
        value + (values - before) + part
    }

    /// The first candidate from `next` on that fits into the room, and its place.
    pub(super) fn fitting(&self, next: usize, room: [f64; 2]) -> Option<(usize, &Candidate)> {
        let mut rest = self.candidates.iter().enumerate().skip(next);
        rest.find(|(_, item)| fits(item.cost, room))
    }

    /// The place behind the candidate at `place` and behind those next to it that are worth no more
    /// and cost no less: none of them need be taken where it is left out.
    pub(super) fn without(&self, place: usize) -> usize {
        let Some(left_out) = self.candidates.get(place) else { return place };
        let no_better =
            |item: &&Candidate| item.value <= left_out.value && fits(left_out.cost, item.cost);
        place + 1 + self.candidates.iter().skip(place + 1).take_while(no_better).count()
    }
}

fn fits(cost: [f64; 2], room: [f64; 2]) -> bool {
    cost[0] <= room[0] && cost[1] <= room[1]
}

/// What fits and costs nothing takes no share, even of a room of nothing.
fn share(cost: f64, room: f64) -> f64 {
    if cost > 0.0 { cost / room } else { 0.0 }
}

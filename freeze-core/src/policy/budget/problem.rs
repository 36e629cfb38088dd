//! What a step may cost, and which units are the best that a step can train for it.

use std::time::Duration;

use super::bound::Item;
use super::knapsack::{Best, Start, best};
use super::rounds::in_rounds;
use super::settings::BudgetSettings;
use super::units::{Unit, Units};
use crate::error::{Error, Result, listed};
use crate::forecast::{Calibration, Front, Price};
use crate::plan::{FreezePlan, LeafState};

/// The units of a base plan, what they cost and the limits.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    costs: &'a Calibration,
    base: &'a FreezePlan,
    settings: &'a BudgetSettings,
    pub(super) units: Units,
    openings: Vec<Opening>,
    full: Duration,
    limit: Price,
}

/// Units that train for certain, with the deepest of all, and how many of those nearest to the output
/// may then be added.
#[derive(Debug)]
struct Opening {
    units: Vec<usize>,
    price: Price,
    more: usize,
}

/// Units that train, and what a step costs then.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) units: Vec<usize>,
    pub(super) price: Price,
    /// By what share of its value the best choice may be better.
    pub(super) gap: f64,
}

impl<'a> Problem<'a> {
    /// # Errors
    ///
    /// The plan is of another model, or nothing that trains is within the limits; the least that can be
    /// is named.
    pub(super) fn new(
        costs: &'a Calibration,
        base: &'a FreezePlan,
        settings: &'a BudgetSettings,
    ) -> Result<Self> {
        let units = Units::of(costs, base, settings)?;
        let full = costs.full();
        let limit = Price {
            time: settings.time.map_or(Duration::MAX, |share| part_of(full, share)),
            bytes: settings.bytes.unwrap_or(usize::MAX),
        };
        let openings = Vec::new();
        let mut problem = Self { costs, base, settings, units, openings, full, limit };
        problem.openings = match settings.prefix {
            true => problem.suffixes(),
            false => problem.deepest(),
        };
        problem.check()?;
        Ok(problem)
    }

    /// Whether nothing trains whatever is chosen.
    pub(super) fn is_idle(&self) -> bool {
        self.units.list.is_empty() && self.units.rest_depth.is_none()
    }

    /// The states in which these units train beside the rest.
    pub(super) fn states(&self, units: &[usize]) -> Vec<LeafState> {
        self.units.trained(self.base, units)
    }

    pub(super) fn price(&self, states: &[LeafState]) -> Price {
        let front = if self.settings.cached { Front::Cached } else { Front::Computed };
        self.costs.price(states, front)
    }

    /// The share of the time of a step that trains everything.
    pub(super) fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.full.as_secs_f64()
    }

    /// What these units cost, if it is known.
    fn opening(&self, units: Vec<usize>, more: usize) -> Option<Opening> {
        let states = self.states(&units);
        let price = self.costs.is_known(&states).then(|| self.price(&states))?;
        Some(Opening { units, price, more })
    }

    /// Each unit as the deepest, and the rest alone.
    fn deepest(&self) -> Vec<Opening> {
        let list = &self.units.list;
        let rest = self.units.rest_depth;
        let above =
            |unit: &Unit| rest.is_some_and(|rest| (rest, unit.is_blind) <= (unit.depth, false));
        let alone = rest.and_then(|_| {
            let more = list.iter().take_while(|unit| above(unit)).count();
            self.opening(Vec::new(), more)
        });
        let deeper = list.iter().enumerate().filter(|(_, unit)| !unit.is_blind && !above(unit));
        let units = deeper.filter_map(|(place, _)| self.opening(vec![place], place));
        units.chain(alone).collect()
    }

    /// All units behind each number of frozen ones, in the order of their leaves.
    fn suffixes(&self) -> Vec<Opening> {
        let list = &self.units.list;
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_by_key(|&unit| list[unit].leaves.first());
        let most = match self.units.rest_depth {
            Some(_) => order.len() + 1,
            None => order.len(),
        };
        let behind = |frozen: usize| order.iter().skip(frozen).copied().collect();
        (0..most).filter_map(|frozen| self.opening(behind(frozen), 0)).collect()
    }

    fn check(&self) -> Result<()> {
        if self.is_idle() || self.openings.iter().any(|opening| self.fits(opening.price)) {
            return Ok(());
        }
        let prices = || self.openings.iter().map(|opening| opening.price);
        let (Some(time), Some(bytes)) =
            (prices().map(|price| price.time).min(), prices().map(|price| price.bytes).min())
        else {
            let unknown = (0..self.base.len()).filter(|&leaf| !self.costs.is_recorded(leaf));
            let unknown = listed(unknown.filter_map(|leaf| self.base.paths().get(leaf)));
            let why = format!(
                "what it would cost to train anything is unknown, since the operations of {unknown} \
                 are not recorded; use layers of `freeze_core::nn`"
            );
            return Err(Error::policy("budget", why));
        };
        let why = format!(
            "nothing can be trained within {}; the least time that anything takes is the share {:.4}, \
             the least memory {bytes} bytes; raise `time` or `bytes`, or declare less as `always`",
            self.limits(),
            self.share(time),
        );
        Err(Error::policy("budget", why))
    }

    /// The limits in words.
    pub(super) fn limits(&self) -> String {
        let time = (self.limit.time < Duration::MAX)
            .then(|| format!("the share {:.4} of a full step's time", self.share(self.limit.time)));
        let bytes = (self.limit.bytes < usize::MAX).then(|| format!("{} bytes", self.limit.bytes));
        let limits: Vec<String> = time.into_iter().chain(bytes).collect();
        limits.join(" and ")
    }

    fn fits(&self, price: Price) -> bool {
        price.time <= self.limit.time && price.bytes <= self.limit.bytes
    }

    /// The units with the greatest sum of `values` that a step can train within the limits.
    pub(super) fn choose(&self, values: &[f64]) -> Choice {
        let value = |unit: &usize| values.get(*unit).copied().unwrap_or_default();
        let item = |(place, unit): (usize, &Unit)| Item {
            value: value(&place),
            cost: cost(self.costs.adds(&self.units.rest, &unit.leaves)),
        };
        let items: Vec<Item> = self.units.list.iter().enumerate().map(item).collect();
        let start = |opening: &Opening| Start {
            value: opening.units.iter().map(value).sum(),
            cost: cost(opening.price),
            items: opening.more,
        };
        let starts: Vec<Start> = self.openings.iter().map(start).collect();
        let found = best(&items, &starts, self.room());
        let (mut units, found) = match found {
            Some(found) => {
                let first = self.openings.get(found.start).map(|opening| &opening.units[..]);
                let units = first.unwrap_or_default().iter().chain(&found.items);
                (units.copied().collect::<Vec<usize>>(), found)
            }
            None => (Vec::new(), Best { start: 0, items: Vec::new(), value: 0.0, bound: 0.0 }),
        };
        self.fill(&mut units, values);
        units.sort_unstable();
        let price = self.price(&self.states(&units));
        let value: f64 = units.iter().map(value).sum();
        let gap = if found.bound > value { (found.bound - value) / value.abs() } else { 0.0 };
        Choice { units, price, gap }
    }

    /// Adds what is worth something and still fits: units that share a variable cost less together
    /// than one by one.
    fn fill(&self, units: &mut Vec<usize>, values: &[f64]) {
        if self.settings.prefix {
            return;
        }
        let mut left: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
        left.retain(|(unit, value)| *value > 0.0 && !units.contains(unit));
        left.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        for (unit, _) in left {
            units.push(unit);
            let states = self.states(units);
            if !(self.costs.is_known(&states) && self.fits(self.price(&states))) {
                units.pop();
            }
        }
    }

    fn room(&self) -> [f64; 2] {
        let [time, bytes] = cost(self.limit);
        let none = |is_none: bool, limit: f64| if is_none { f64::INFINITY } else { limit };
        let Price { time: most, bytes: all } = self.limit;
        [none(most == Duration::MAX, time), none(all == usize::MAX, bytes)]
    }

    /// Rounds in which every unit that could be chosen trains once, within the limit of bytes; one
    /// round if there is none.
    pub(super) fn rounds(&self) -> Vec<Vec<usize>> {
        let units = self.units.list.len();
        if self.limit.bytes == usize::MAX {
            return vec![(0..units).collect()];
        }
        in_rounds(units, |units| {
            let states = self.states(units);
            self.costs.is_known(&states) && self.price(&states).bytes <= self.limit.bytes
        })
    }
}

/// Nanoseconds and bytes, which are exact below 2^53.
fn cost(Price { time, bytes }: Price) -> [f64; 2] {
    [time.as_nanos() as f64, bytes as f64]
}

/// The longest time that is no more than this share of `full`.
fn part_of(full: Duration, share: f64) -> Duration {
    let nanos = full.as_nanos() as f64;
    let mut most = (nanos * share).floor();
    while most > 0.0 && most / nanos > share {
        most -= 1.0;
    }
    Duration::from_nanos(most as u64)
}

//! What a report knows of a run: plain data that the file holds too.

use serde::{Deserialize, Serialize};

use super::super::PlanNow;
use super::series::{At, MOST, Series};
use crate::plan::LeafState;
use crate::policy::{Elapsed, Reason};
use crate::train::Spent;

/// A run so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) title: String,
    pub(super) settings: Vec<(String, String)>,
    pub(super) policy: Option<String>,
    /// The paths of the leaves, in the order in which they are declared.
    pub(super) leaves: Vec<String>,
    /// The states of the leaves, each time that one changed.
    pub(super) plans: Vec<Planned>,
    /// The metrics, in the order in which they came.
    pub(super) series: Vec<Series>,
    /// The last decisions.
    pub(super) decisions: Vec<Decided>,
    /// How many decisions came before those.
    #[serde(default)]
    pub(super) earlier_decisions: usize,
    /// Seconds of training up to the end of each epoch. Reports of an earlier version have none.
    #[serde(default = "seconds")]
    pub(super) seconds: Series,
    /// How far the run is.
    pub(super) reached: Elapsed,
    pub(super) ended: bool,
}

/// The states of the leaves from one point on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Planned {
    pub(super) at: At,
    pub(super) states: Vec<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Frozen,
    /// Frozen, and not even run: its output comes from the cache.
    Cached,
    /// Trained at this share of the learning rate.
    Trained(f64),
}

/// Why a leaf changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Decided {
    pub(super) at: At,
    pub(super) leaf: String,
    pub(super) why: String,
}

fn seconds() -> Series {
    Series::new("seconds")
}

impl Default for Record {
    fn default() -> Self {
        Self {
            title: String::new(),
            settings: Vec::new(),
            policy: None,
            leaves: Vec::new(),
            plans: Vec::new(),
            series: Vec::new(),
            decisions: Vec::new(),
            earlier_decisions: 0,
            seconds: seconds(),
            reached: Elapsed::default(),
            ended: false,
        }
    }
}

impl Record {
    /// The run is at `elapsed`.
    pub(super) fn reach(&mut self, elapsed: Elapsed) {
        let steps = if elapsed.steps == 0 { self.reached.steps } else { elapsed.steps };
        let step = elapsed.step.max(self.reached.step);
        self.reached = Elapsed { step, steps, ..elapsed };
        self.ended = false;
    }

    pub(super) fn metric(&mut self, name: &str, value: f64, elapsed: Elapsed) {
        let place = self.series.iter().position(|series| series.name == name);
        let place = place.unwrap_or_else(|| {
            self.series.push(Series::new(name));
            self.series.len() - 1
        });
        self.series[place].push(At::of(elapsed), value);
    }

    /// Takes a value that is told again where it is the same; of those of one point the last.
    fn change(&mut self, name: &str, value: f64, elapsed: Elapsed) {
        if let Some(series) = self.series.iter_mut().find(|series| series.name == name) {
            series.points.pop_if(|last| last.at == At::of(elapsed));
            if series.last() == Some(value) {
                return;
            }
        }
        self.metric(name, value, elapsed);
    }

    pub(super) fn decision(&mut self, reason: &Reason, elapsed: Elapsed) {
        let Reason { leaf, text } = reason.clone();
        self.decisions.push(Decided { at: At::of(elapsed), leaf, why: text });
        if self.decisions.len() > MOST {
            self.decisions.remove(0);
            self.earlier_decisions += 1;
        }
    }

    /// Takes how the time of an epoch was spent, which ends at `elapsed`.
    pub(super) fn spent(&mut self, spent: &Spent, elapsed: Elapsed) {
        let before = self.seconds.last().unwrap_or(0.0);
        self.seconds.push(At::of(elapsed), before + spent.training.as_secs_f64());
        let parts = [
            ("seconds/forward", spent.forward),
            ("seconds/backward", spent.backward),
            ("seconds/update", spent.update),
            ("seconds/cache", spent.cache),
            ("seconds/training", spent.training),
        ];
        for (name, time) in parts {
            self.metric(name, time.as_secs_f64(), elapsed);
        }
    }

    /// The values of a metric by the seconds of training before them; nothing if it was not recorded.
    pub(super) fn by_seconds(&self, metric: &str) -> Option<Vec<(f64, f64)>> {
        let series = self.series.iter().find(|series| series.name == metric)?;
        let seconds = |at: At| {
            let before = self.seconds.points.iter().rev();
            let mut before = before.skip_while(|point| point.at.epoch() > at.epoch());
            before.next().map_or(0.0, |point| point.value)
        };
        Some(series.points.iter().map(|point| (seconds(point.at), point.value)).collect())
    }

    /// Takes the plan, which may be the same as before.
    pub(super) fn plan(&mut self, now: &PlanNow<'_>, elapsed: Elapsed) {
        if now.policy.is_some() {
            self.policy.clone_from(&now.policy);
        }
        let bytes = [
            ("state/bytes", now.state_bytes),
            ("gradients/bytes", now.gradient_bytes),
            ("activations/bytes", now.activation_bytes),
        ];
        for (name, bytes) in bytes {
            if let Some(bytes) = bytes {
                self.change(name, bytes as f64, elapsed);
            }
        }
        if self.leaves != now.plan.paths() {
            // Another model: its leaves have other rows.
            self.leaves = now.plan.paths().to_vec();
            self.plans.clear();
        }
        let state = |(leaf, state): (usize, &LeafState)| match state {
            LeafState::Frozen if leaf < now.cached => State::Cached,
            LeafState::Frozen => State::Frozen,
            LeafState::Trained { lr_scale } => State::Trained(*lr_scale),
        };
        let states: Vec<State> = now.plan.states().iter().enumerate().map(state).collect();
        let at = At::of(elapsed);
        // What is said of the same point again takes the place of what was said before.
        self.plans.pop_if(|last| last.at == at);
        if self.plans.last().is_none_or(|last| last.states != states) {
            self.plans.push(Planned { at, states });
        }
        if self.plans.len() > MOST {
            self.plans = self.coarse_plans(MOST / 2);
        }
    }

    /// The plans without those that stood for less than one of `most` equal stretches of time.
    pub(super) fn coarse_plans(&self, most: usize) -> Vec<Planned> {
        if self.plans.len() <= most {
            return self.plans.clone();
        }
        let stretch = |plan: &Planned| (self.place(plan.at) * most as f64) as usize;
        let stays = |(place, plan): &(usize, &Planned)| {
            *place == 0
                || self.plans.get(place + 1).is_none_or(|next| stretch(next) > stretch(plan))
        };
        self.plans.iter().enumerate().filter(stays).map(|(_, plan)| plan.clone()).collect()
    }

    /// Goes on with the record of a part of the run that is done.
    pub(super) fn go_on_from(&mut self, before: Self) {
        let (title, settings) =
            (std::mem::take(&mut self.title), std::mem::take(&mut self.settings));
        *self = Self { title, settings, ..before };
    }

    /// Drops what comes again in a run that goes on from `at`.
    pub(super) fn forget_after(&mut self, at: Elapsed) {
        let stays = |point: &At| !point.elapsed(at).is_after(at);
        self.series.iter_mut().for_each(|series| series.points.retain(|point| stays(&point.at)));
        self.series.retain(|series| !series.points.is_empty());
        self.seconds.points.retain(|point| stays(&point.at));
        self.plans.retain(|plan| stays(&plan.at));
        self.decisions.retain(|decided| stays(&decided.at));
        (self.reached, self.ended) = (at, false);
    }

    /// Where a point is between the beginning of the run, 0, and its end, 1.
    pub(super) fn place(&self, at: At) -> f64 {
        let Elapsed { epochs, steps, .. } = self.reached;
        let share = |done: usize, all: usize| done as f64 / all.max(1) as f64;
        let place = match steps {
            // Not every value comes with the number of steps.
            0 => share(at.epoch(), epochs),
            _ if at.step() == 0 => share(at.epoch(), epochs),
            _ => share(at.step(), steps),
        };
        place.min(1.0)
    }

    /// The share of leaves that trained, over the time so far; `None` before it began.
    pub(super) fn share_trained(&self) -> Option<f64> {
        let ends = self.plans.iter().skip(1).map(|next| self.place(next.at)).chain([self.now()]);
        let (mut trained, mut all) = (0.0, 0.0);
        for (plan, to) in self.plans.iter().zip(ends) {
            let time = (to - self.place(plan.at)).max(0.0);
            let count =
                plan.states.iter().filter(|state| matches!(state, State::Trained(_))).count();
            trained += time * count as f64 / plan.states.len().max(1) as f64;
            all += time;
        }
        (all > 0.0).then(|| trained / all)
    }

    /// Where the run is now, as [`place`](Self::place).
    pub(super) fn now(&self) -> f64 {
        self.place(At::of(self.reached))
    }

    /// The length of the run and its unit.
    pub(super) fn length(&self) -> (usize, &'static str) {
        match self.reached {
            Elapsed { steps: 0, epochs, .. } => (epochs, "epochs"),
            Elapsed { steps, .. } => (steps, "steps"),
        }
    }
}

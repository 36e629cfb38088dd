//! Models under several budgets that take turns within one run.

use candle_core::{Module, Tensor};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use freeze_core::forecast::Calibration;
use freeze_core::policy::{BudgetSettings, Needs, Observation, Policy, Seen, Settings};
use freeze_core::{Elapsed, Freezable, FreezePlan, Result};

use super::clock::median;
use super::subject::{Sample, Subject};

/// A model to measure.
pub(crate) struct Contest {
    pub(crate) title: String,
    pub(crate) input: Tensor,
    /// A class for each row of the scores.
    pub(crate) targets: Tensor,
    pub(crate) stages: usize,
    pub(crate) rounds: usize,
}

/// What is limited.
#[derive(Clone, Copy)]
enum Of {
    Time,
    Bytes,
}

/// One budget: a share of what a step that trains everything takes.
struct Row<S> {
    of: Of,
    share: f64,
    /// `None` if nothing fits in.
    subject: Option<Subject<S>>,
    frozen: usize,
    /// The forecast share of time or of bytes.
    forecast: f64,
    ratios: Vec<f64>,
    last: Sample,
}

const SHARES: [f64; 3] = [0.4, 0.6, 0.8];

impl Contest {
    pub(crate) fn run<S: Freezable + Module>(
        self,
        stage: impl Fn(usize) -> candle_core::Result<S>,
    ) -> Result<()> {
        let new = || Subject::new(&stage, self.stages);
        let mut calibrated = new()?;
        let costs = calibrated.calibrate(&self)?;
        let all = FreezePlan::all_trained(calibrated.model.whole())?;
        drop(calibrated);
        let whole = bytes(&costs, &all)?;
        let mut full = new()?.under(&all, &self)?;
        let mut rows = Vec::new();
        for (of, share) in [Of::Time, Of::Bytes].into_iter().flat_map(|of| SHARES.map(|s| (of, s)))
        {
            let plan = plan(&costs, &all, limited(of, share, whole))?;
            let (subject, frozen, forecast) = match plan {
                None => (None, 0, f64::NAN),
                Some(plan) => {
                    let forecast = match of {
                        Of::Time => costs.forecast(&plan)?.step_ratio.unwrap_or(f64::NAN),
                        Of::Bytes => bytes(&costs, &plan)? as f64 / whole as f64,
                    };
                    (Some(new()?.under(&plan, &self)?), plan.frozen_leaves(), forecast)
                }
            };
            let (ratios, last) = (Vec::new(), Sample::default());
            rows.push(Row { of, share, subject, frozen, forecast, ratios, last });
        }
        for _ in 0..self.rounds {
            let unlimited = full.step(&self)?;
            for row in &mut rows {
                let Some(subject) = &mut row.subject else { continue };
                row.last = subject.step(&self)?;
                row.ratios.push(match row.of {
                    Of::Time => row.last.seconds / unlimited.seconds,
                    Of::Bytes => row.last.bytes as f64 / whole as f64,
                });
            }
        }
        println!("\n{}; {} rounds, {} leaves", self.title, self.rounds, all.len());
        println!("{}", table(rows));
        Ok(())
    }
}

/// The budget of so much of the time of a full step, or of its bytes.
fn limited(of: Of, share: f64, whole: usize) -> BudgetSettings {
    let (time, bytes) = match of {
        Of::Time => (Some(share), None),
        Of::Bytes => (None, Some((share * whole as f64) as usize)),
    };
    BudgetSettings { time, bytes, every: 1.0, ..Default::default() }
}

/// What the budget trains if leaves lower the loss by given numbers: how well it chooses is not measured
/// here. `None` if nothing fits in.
fn plan(
    costs: &Calibration,
    all: &FreezePlan,
    settings: BudgetSettings,
) -> Result<Option<FreezePlan>> {
    let mut policy = settings.policy()?.calibrated(costs.clone());
    let at = |step| Elapsed::new(0, 1).at_step(step, 1 << 20);
    let Ok(mut decision) = policy.decide(at(0), all) else { return Ok(None) };
    let mut step = 0;
    while policy.needs(at(step)).contains(Needs::LOSS_DROP) {
        step += 1;
        let seen =
            decision.plan.states().iter().enumerate().filter(|(_, state)| !state.is_frozen());
        let seen = seen.map(|(leaf, _)| {
            let drop = (leaf * 37 + 11) % 101 + 1;
            Seen::new(leaf, leaf.to_string(), 1).loss_drop(drop as f64)
        });
        let shown = seen.fold(Observation::after_step(at(step), 1.0), Observation::tensor);
        policy.observe(&shown)?;
        decision = policy.decide(at(step), all)?;
    }
    Ok(Some(decision.plan))
}

/// The bytes that a budget counts.
fn bytes(costs: &Calibration, plan: &FreezePlan) -> Result<usize> {
    let forecast = costs.forecast(plan)?;
    Ok(forecast.gradient_bytes + forecast.state_bytes + forecast.activation_bytes)
}

fn table<S>(rows: Vec<Row<S>>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["budget", "frozen", "forecast", "measured", "measured / asked"]);
    for Row { of, share, subject, frozen, forecast, ratios, .. } in rows {
        let name = match of {
            Of::Time => "of the time",
            Of::Bytes => "of the bytes",
        };
        let name = format!("{:.0} % {name}", share * 100.0);
        if subject.is_none() {
            table.add_row([&name, "-", "-", "nothing fits", "-"]);
            continue;
        }
        let measured = median(ratios);
        // A goal is missed by more than a tenth of what was asked for, or of what was forecast.
        let missed = measured > 1.1 * share || (measured / forecast - 1.0).abs() > 0.1;
        table.add_row([
            name,
            frozen.to_string(),
            format!("{forecast:.3}"),
            format!("{measured:.3}"),
            format!("{:.3}{}", measured / share, if missed { " !" } else { "" }),
        ]);
    }
    for index in 1..5 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

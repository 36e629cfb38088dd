//! One run.

use std::path::Path;

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::nn::cross_entropy;
use freeze_core::optim::{AdamW, GradClip, ParamGroups, lr};
use freeze_core::policy::Output;
use freeze_core::{ActivationCache, BatchNormPolicy, HtmlReport, Recompute, Staged, Training};

use crate::common::Result;
use crate::common::policy::policy;
use crate::images::{Parts, ResidualJob, VisionJob};
use crate::job::{Batch, Job, Part, Places};
use crate::measure::{peak_bytes, processor_seconds};
use crate::row::{Cache, Curve, Found, Model, Row, Schedule};
use crate::text::TextJob;

/// Bytes of a cache: more than any row of the study stores.
const ROOM: u64 = 4 << 30;

/// Trains what the row says; writes the run as a page to `page`.
///
/// # Errors
///
/// Samples or weights cannot be read, or the policy refuses the model.
pub(crate) fn train(row: &Row, places: &Places, page: Option<&Path>) -> Result<Found> {
    match row.model {
        Model::Residual => run(row, &ResidualJob::new(Parts::of(row, places)?), places, page),
        Model::Vision { blocks } => {
            run(row, &VisionJob::new(Parts::of(row, places)?, blocks), places, page)
        }
        Model::Minilm => run(row, &TextJob::of(row, places)?, places, page),
    }
}

fn run<J: Job>(row: &Row, job: &J, places: &Places, page: Option<&Path>) -> Result<Found> {
    let steps = job.in_order(Part::Train).len();
    let mut run = set_up(row, job, places, page)?.length(row.epochs, steps)?;
    let mut found = Found {
        valid_accuracy: 0.0,
        test_accuracy: None,
        seconds: 0.0,
        processor_seconds: Some(0.0),
        peak_bytes: None,
        state_bytes: 0,
        leaf_steps: 0.0,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        curve: Curve::default(),
    };
    while let Some(epoch) = run.next_epoch()? {
        let before = processor_seconds();
        for which in job.shuffled(&epoch) {
            let batch = job.batch(Part::Train, &which)?;
            let scores = run.forward(&batch.keys, batch.inputs, &batch.context)?;
            let loss = cross_entropy(&scores, &batch.classes, None)?;
            found.leaf_steps += trained(&run) / (steps * row.epochs) as f64;
            let stopped = run.step(&loss)?.stopped.is_some();
            let state = run.optimizer_as::<AdamW>(0).map_or(0, AdamW::state_bytes) as u64;
            found.state_bytes = found.state_bytes.max(state);
            if stopped {
                break;
            }
        }
        let spent = processor_seconds().zip(before).map(|(now, before)| now - before);
        found.processor_seconds = found.processor_seconds.zip(spent).map(|(all, more)| all + more);
        found.seconds += run.spent().training.as_secs_f64();
        found.valid_accuracy = accuracy(&run, job, Part::Valid)?;
        found.curve.0.push((found.seconds, found.valid_accuracy));
        let report = run.epoch_end([("valid/accuracy", found.valid_accuracy)])?;
        report.unrecorded.iter().for_each(|lost| eprintln!("{lost}"));
    }
    if row.test > 0 {
        found.test_accuracy = Some(accuracy(&run, job, Part::Test)?);
    }
    found.peak_bytes = peak_bytes();
    Ok(found)
}

/// The run with everything but its length.
fn set_up<J: Job>(
    row: &Row,
    job: &J,
    places: &Places,
    page: Option<&Path>,
) -> Result<Training<J::Net>> {
    let typical = |job: &J| -> Result<Batch<J::Context>> {
        let mut batches = job.in_order(Part::Train);
        let middle = batches.len() / 2;
        Ok(job.batch(Part::Train, &batches.swap_remove(middle))?)
    };
    let (probe, costs) = (typical(job)?, typical(job)?);
    let params = ParamsAdamW { lr: row.rate, ..Default::default() };
    let mut run = Training::new(job.net(row.seed)?)?
        .optimizer(|vars| {
            let mut adamw = AdamW::with_names(vars, params)?;
            adamw.set_groups(ParamGroups::new().no_decay_on_biases_and_norms())?;
            Ok(adamw)
        })?
        .probe(move |net| Output::of_stages(net, &probe.inputs, &probe.context))
        .costs_of(move |net| {
            let scores = net.forward(costs.inputs.clone(), &costs.context)?;
            cross_entropy(&scores, &costs.classes, None)
        })
        .seed(row.seed);
    run.set_batch_norm(BatchNormPolicy::Inference)?;
    if let Schedule::Cosine = row.schedule {
        run = run.rate(lr::warmup(0.1, lr::cosine(0.0)?)?);
    }
    if !row.trains_all() {
        run = run.policy(policy(&row.policy)?);
    }
    run = match row.cache {
        Cache::Off => run,
        Cache::On => run.cache(ActivationCache::new().memory(ROOM)),
        Cache::Kept => run.cache(ActivationCache::new().kept(&places.kept, ROOM)),
    };
    run = match row.release {
        true => run.update_in_backward(),
        false => run.clip(GradClip::Norm(1.0))?,
    };
    if row.recompute > 0 {
        run = run.recompute(Recompute::every(row.recompute)?);
    }
    if let Some(page) = page {
        let report = HtmlReport::create(page)?.title(row.to_string());
        run = run.metrics(report.setting("learning rate", row.rate).setting("cache", row.cache));
    }
    Ok(run)
}

/// The share of leaves that train.
fn trained<M: freeze_core::Freezable>(run: &Training<M>) -> f64 {
    let states = run.freezer().plan().states();
    let trained = states.iter().filter(|state| !state.is_frozen()).count();
    trained as f64 / states.len() as f64
}

/// The share of a part's samples whose class has the highest score.
fn accuracy<J: Job>(run: &Training<J::Net>, job: &J, part: Part) -> Result<f64> {
    Ok(run.evaluate(|net| {
        let (mut right, mut all) = (0.0, 0);
        for which in job.in_order(part) {
            let Batch { inputs, context, classes, .. } = job.batch(part, &which)?;
            let found = net.forward(inputs, &context)?.argmax(1)?.eq(&classes)?;
            right += f64::from(found.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?);
            all += which.len();
        }
        Ok(right / f64::from(all as u32))
    })?)
}

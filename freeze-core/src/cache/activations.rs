//! The cache, its settings and its statistics.

use std::path::PathBuf;
use std::sync::Arc;

use super::class::Class;
use super::form::Form;
use super::front::Front;
use super::rounded::Rounded;
use super::samples::Samples;
use super::settings::{Boundary, Precision};
use super::shelves::Lifetime;
use super::stats::{CacheStats, Tally};
use super::store::{Budget, Identity, Places, Store};
use crate::error::Result;
use crate::model::{Flow, FlowLayout};

/// Bytes in memory where none are asked for.
const MEMORY: u64 = 1 << 30;

/// Stores the outputs of the frozen front per sample, so that its forward runs once per sample instead
/// of once per epoch. See the [module](super) for an example.
#[derive(Debug)]
pub struct ActivationCache {
    pub(super) boundary: Boundary,
    pub(super) precision: Precision,
    pub(super) looks_at_inputs: bool,
    lifetime: Lifetime,
    version: String,
    places: Places,
    /// Of records on a card.
    device: Arc<Budget>,
    pub(super) store: Option<Store>,
    pub(super) front: Option<Front>,
    pub(super) classes: Vec<Class>,
    /// The class of the latest batch.
    pub(super) latest: usize,
    pub(super) tally: Tally,
    /// Whether the next forward must compare all weights of the front.
    pub(super) is_due: bool,
}

impl ActivationCache {
    /// An empty cache of at most 1 GiB in memory.
    pub fn new() -> Self {
        Self {
            boundary: Boundary::default(),
            precision: Precision::default(),
            looks_at_inputs: true,
            lifetime: Lifetime::Cache,
            version: String::new(),
            places: Places { memory: MEMORY, disk: None },
            device: Arc::new(Budget::new(0)),
            store: None,
            front: None,
            classes: Vec::new(),
            latest: 0,
            tally: Tally::default(),
            is_due: false,
        }
    }

    /// Sets how many bytes of activations may be held in memory; 0 for none. On top of that each sample
    /// takes about a hundred bytes for its key, its fingerprint and its place.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.places.memory = bytes;
        self
    }

    /// Sets how many bytes of activations may be held in the memory of a CUDA card, ahead of the host's; 0, as at
    /// first, for none. Records of tensors on a card then stay there, and are read without a copy to the host and
    /// without waiting; what does not fit goes to the host, and comes to the card when it is read and there is room.
    /// On other devices it does nothing.
    pub fn device_memory(mut self, bytes: u64) -> Self {
        self.device = Arc::new(Budget::new(bytes));
        self
    }

    /// Writes what does not fit in memory to a file in `folder`, up to so many bytes. The file has no
    /// name, so the system removes it when the process ends, even after a crash. It takes the place of
    /// [`kept`](Self::kept).
    pub fn folder(mut self, folder: impl Into<PathBuf>, bytes: u64) -> Self {
        self.lifetime = Lifetime::Cache;
        self.places.disk = Some((folder.into(), bytes));
        self
    }

    /// Keeps records across runs: they are written to files in `folder`, up to so many bytes for the whole
    /// folder, and what does not fit there is held in memory. A later run finds them if its model has the
    /// same type and stages and the same frozen weights, and the cache the same settings and
    /// [`version`](Self::version); the head, the rates and the order of samples do not matter. Several
    /// processes may share a folder. [`list`](super::list) and [`clear`](super::clear) manage it.
    ///
    /// Records written on another machine may differ in the last bit from what this one would compute. It takes the place
    /// of [`folder`](Self::folder).
    pub fn kept(mut self, folder: impl Into<PathBuf>, bytes: u64) -> Self {
        self = self.folder(folder, bytes);
        self.lifetime = Lifetime::Kept;
        self
    }

    /// Names the data and all that is not seen in weights and inputs: preprocessing, the meaning of keys,
    /// settings in skipped fields. [Kept](Self::kept) records of another version are not used.
    pub fn version(mut self, data: impl Into<String>) -> Self {
        self.version = data.into();
        self
    }

    /// Sets up to which stage activations are stored; [`Boundary::Deepest`] by default.
    pub fn boundary(self, boundary: Boundary) -> Self {
        Self { boundary, ..self }
    }

    /// Sets the type that activations are stored in; [`Precision::Exact`] by default.
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Does not check that a key stands for the same input each time. By default a fingerprint of each
    /// sample's input and context is compared with that of its record.
    pub fn unchecked_inputs(self) -> Self {
        Self { looks_at_inputs: false, ..self }
    }

    /// Makes the next forward compare every byte of the frozen weights with what the records were
    /// computed with. This happens by itself after each plan, after a resume, and at the start of each
    /// epoch of a [`Training`](crate::Training). In between only some elements of each tensor are compared,
    /// and only on the CPU: that finds a tensor that was set, but not a change to a single number.
    pub fn recheck(&mut self) {
        self.is_due = true;
    }

    /// Drops all records. Those that are [kept](Self::kept) stay in their files and are found again:
    /// [`clear`](super::clear) removes them.
    pub fn clear(&mut self) {
        self.classes.clear();
    }

    /// Starts to read the records of the next batch from the file, on a thread, for the next
    /// [`forward`](Self::forward); for inputs on a CUDA card also from memory, and to copy them there, in a stream of
    /// its own. A run does it by itself if it is
    /// [told](crate::Training::read_ahead) the order of the epoch.
    pub fn read_ahead(&mut self, keys: &[u64]) {
        // Of which layout the batch will be is not said: that of most records, or else of the latest batch.
        let likely = |i: &usize| (self.classes[*i].far(keys), *i == self.latest);
        let likeliest = (0..self.classes.len()).max_by_key(likely);
        let classes = self.classes.iter_mut().enumerate();
        classes.for_each(|(i, class)| class.read_ahead(keys, Some(i) == likeliest));
    }

    /// Counts, sizes and the time saved so far.
    pub fn stats(&self) -> CacheStats {
        let usage = self.store.as_ref().map(Store::usage);
        let number = |of: fn(&super::store::Usage) -> u64| usage.as_ref().map_or(0, of);
        let boundary = self.front.as_ref().map(|front| front.path(front.depth).to_string());
        let tally = &self.tally;
        CacheStats {
            boundary: boundary.filter(|path| !path.is_empty()),
            hits: tally.hits,
            read_ahead: number(|usage| usage.ahead),
            extended: tally.extended,
            misses: tally.misses,
            out_of_range: tally.out_of_range,
            records: self.classes.iter().map(Class::records).sum(),
            memory_bytes: number(|usage| usage.memory),
            device_bytes: self.device.used(),
            disk_bytes: number(|usage| usage.disk),
            full: usage.is_some_and(|usage| usage.full),
            disk_failed: usage.is_some_and(|usage| usage.disk_failed),
            seconds_saved: tally.seconds_saved(),
        }
    }

    /// How long the stages of the frozen front have run.
    pub(crate) fn ran_for(&self) -> std::time::Duration {
        self.tally.ran_for()
    }

    /// Makes the store if there is none yet.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.store.is_none() {
            self.store = Some(Store::new(self.places.clone())?);
        }
        Ok(())
    }

    /// The index of the class of samples whose input has this layout.
    pub(super) fn class(&mut self, input: FlowLayout) -> usize {
        let known = self.classes.iter().position(|class| class.input == input);
        known.unwrap_or_else(|| {
            self.classes.push(Class::new(input, self.lifetime, Arc::clone(&self.device)));
            self.classes.len() - 1
        })
    }

    /// Stores activations after `depth` stages, of the samples of a batch at `which`; of none, it only finds
    /// what earlier runs kept.
    pub(super) fn keep<M, F: Flow>(
        &mut self,
        class: usize,
        depth: usize,
        (samples, which): (&Samples, &[u32]),
        rounded: &Rounded<F>,
    ) -> Result<()> {
        let (Some(front), Some(store)) = (&self.front, &self.store) else { return Ok(()) };
        let class = &mut self.classes[class];
        let input = class.input.clone();
        let settings = (self.precision, self.version.as_str());
        let open = |depth: usize, layout: &FlowLayout, tail: usize| match self.lifetime {
            Lifetime::Cache => Ok(store.records(layout.width())),
            Lifetime::Kept => {
                let identity = identity::<M>(front, settings, &input, (depth, layout));
                store.kept(layout.width() + tail, &identity)
            }
        };
        match which {
            [] => class.open(depth, Form::of_rounded(rounded)?, &open).map(drop),
            _ => class.keep(depth, (samples, which), rounded, &open),
        }
    }

    /// How many stages a record must have passed to be gone on from. What later runs find is rounded once: records of
    /// fewer stages would be rounded again.
    pub(super) fn least_read(&self) -> usize {
        match (self.lifetime, self.precision) {
            (Lifetime::Kept, Precision::F16 | Precision::BF16) => self.depth(),
            _ => 0,
        }
    }

    /// Finds what earlier runs kept of activations after fewer stages, to go on from there; only where they
    /// are stored exactly, or results would depend on what was found.
    pub(super) fn find_earlier<M>(
        &mut self,
        class: usize,
        forms: Vec<(usize, Form)>,
    ) -> Result<()> {
        if self.lifetime != Lifetime::Kept || self.least_read() > 0 {
            return Ok(());
        }
        let (Some(front), Some(store)) = (&self.front, &self.store) else { return Ok(()) };
        let class = &mut self.classes[class];
        let settings = (self.precision, self.version.as_str());
        for (depth, form) in forms {
            let identity = identity::<M>(front, settings, &class.input, (depth, &form.layout));
            let width = form.layout.width() + class.tail();
            if !class.is_open(depth) && store.has_kept(width, &identity)? {
                class.open(depth, form, &|_, _, _| store.kept(width, &identity))?;
            }
        }
        Ok(())
    }

    /// Whether the records that earlier runs kept after `depth` stages were looked for.
    pub(super) fn is_open(&self, class: usize, depth: usize) -> bool {
        self.lifetime == Lifetime::Cache || self.classes[class].is_open(depth)
    }

    /// Drops the records of outputs of more than `depth` stages.
    pub(super) fn drop_beyond(&mut self, depth: usize) {
        self.classes.iter_mut().for_each(|class| class.drop_beyond(depth));
    }
}

/// What must be equal for a run to use activations after `depth` stages that another run kept.
fn identity<M>(
    front: &Front,
    (precision, version): (Precision, &str),
    input: &FlowLayout,
    (depth, layout): (usize, &FlowLayout),
) -> Identity {
    Identity {
        model: std::any::type_name::<M>().to_string(),
        stage: front.path(depth).to_string(),
        front: format!("{:016x} of {input:?}", front.fingerprint(depth)),
        layout: layout.clone(),
        precision: format!("{precision:?}"),
        data: version.to_string(),
    }
}

impl Default for ActivationCache {
    fn default() -> Self {
        Self::new()
    }
}

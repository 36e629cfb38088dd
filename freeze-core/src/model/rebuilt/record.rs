//! The recording run of a constructor.
//!
//! The constructor takes a `VarBuilder<'static>`, but the caller's builder may borrow. So the
//! constructor runs on a scoped thread, with a builder that sends each request to this thread,
//! which answers from the caller's builder.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};

use super::replay::{Build, Named, Recording};
use crate::error::Result;

type Candle<T> = candle_core::Result<T>;

pub(super) fn record<L>(
    vb: &VarBuilder<'_>,
    is_buffer: impl Fn(&str) -> bool,
    build: &Build<L>,
) -> Result<Recording> {
    let (dtype, device) = (vb.dtype(), vb.device().clone());
    let (tensors, known, contains) = (Vec::new(), HashMap::new(), HashMap::new());
    let mut recorder = Recorder { vb, is_buffer, tensors, known, contains };
    let (ask, asked) = channel();
    let built = std::thread::scope(|scope| {
        let backend = Box::new(Asking(ask.clone()));
        let for_thread = device.clone();
        let thread = scope.spawn(move || {
            let built = build(VarBuilder::from_backend(backend, dtype, for_thread)).map(drop);
            // The answering side has hung up only if it panicked, and the panic is reported there.
            let _ = ask.send(Question::Done);
            built
        });
        while let Ok(question) = asked.recv() {
            match question {
                Question::Get(get, answer) => drop(answer.send(recorder.get(get))),
                Question::Contains(name, answer) => drop(answer.send(recorder.contains(name))),
                Question::Done => break,
            }
        }
        drop(asked);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    built?;
    let Recorder { tensors, contains, .. } = recorder;
    Ok(Recording { dtype, device, tensors, contains })
}

enum Question {
    Get(Get, Sender<Candle<Tensor>>),
    Contains(String, Sender<bool>),
    Done,
}

struct Get {
    /// `None` for a request that leaves the shape open.
    shape: Option<(Shape, Init)>,
    name: String,
    dtype: DType,
    device: Device,
}

/// The backend of the constructor's builder: sends each request to the answering side.
struct Asking(Sender<Question>);

impl Asking {
    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Question) -> Candle<T> {
        let (answer, answered) = channel();
        let gone = || candle_core::Error::Msg("the recording of this constructor is over".into());
        self.0.send(question(answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())
    }
}

impl SimpleBackend for Asking {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Candle<Tensor> {
        let (name, device) = (name.to_string(), device.clone());
        let get = Get { shape: Some((shape, init)), name, dtype, device };
        self.ask(|answer| Question::Get(get, answer))?
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Candle<Tensor> {
        let get = Get { shape: None, name: name.to_string(), dtype, device: device.clone() };
        self.ask(|answer| Question::Get(get, answer))?
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.ask(|answer| Question::Contains(name.to_string(), answer)).unwrap_or(false)
    }
}

/// The answering side: asks the caller's builder and records the tensors.
struct Recorder<'a, 'b, F> {
    vb: &'a VarBuilder<'b>,
    is_buffer: F,
    tensors: Vec<Named>,
    /// The index in `tensors` of each name.
    known: HashMap<String, usize>,
    contains: HashMap<String, bool>,
}

impl<F: Fn(&str) -> bool> Recorder<'_, '_, F> {
    fn get(&mut self, get: Get) -> Candle<Tensor> {
        if let Some(&known) = self.known.get(&get.name) {
            return self.tensors[known].answer(get.dtype);
        }
        let vb = self.vb.clone().set_device(get.device);
        let tensor = match get.shape {
            Some((shape, init)) => vb.get_with_hints_dtype(shape, &get.name, init, get.dtype)?,
            None => vb.get_unchecked_dtype(&get.name, get.dtype)?,
        };
        let buffer = (self.is_buffer)(&get.name);
        // candle's batch norm keeps statistics in variables and copies a plain tensor. So a
        // variable is made here, which the original and its views share.
        let tensor = if buffer { Var::from_tensor(&tensor)?.into_inner() } else { tensor };
        self.known.insert(get.name.clone(), self.tensors.len());
        let (name, asked) = (get.name, get.dtype);
        self.tensors.push(Named { name, asked, tensor: tensor.clone(), buffer });
        Ok(tensor)
    }

    fn contains(&mut self, name: String) -> bool {
        let found = self.vb.contains_tensor(&name);
        self.contains.insert(name, found);
        found
    }
}

//! How long a step of several ranks takes, by calculation.
//!
//! A message of `m` bytes takes `latency + m / bandwidth`. The sums of `n` ranks are those of Thakur, Rabenseifner and Gropp,
//! Optimization of Collective Communication Operations in MPICH, 2005.

/// What lies between two ranks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// Seconds.
    pub(crate) latency: f64,
    /// Bytes a second, each way.
    pub(crate) bandwidth: f64,
}

/// How ranks add up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sum {
    /// Shares go around, added to at every rank, and once more around.
    Ring,
    /// Halves to a partner, half of that to the next, and back.
    Tree,
    /// As `Mpi` does: everybody sends everybody its share, and the sums around, in pieces of so many bytes.
    Shares { piece: f64 },
}

/// A layer's part of a step, of one rank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    /// Seconds.
    pub(crate) forward: f64,
    pub(crate) backward: f64,
    pub(crate) update: f64,
    /// Of gradients, in `f32`.
    pub(crate) bytes: f64,
}

/// How the ranks exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) ranks: usize,
    pub(crate) network: Network,
    pub(crate) sum: Sum,
    /// Buckets of so many bytes, sent within the backward.
    pub(crate) bucket: Option<f64>,
    /// Sent in `bf16`.
    pub(crate) halves: bool,
    /// Optimizer state is divided.
    pub(crate) sharded: bool,
}

impl Sum {
    /// Seconds to add up so many bytes.
    pub(crate) fn time(self, bytes: f64, ranks: usize, network: Network) -> f64 {
        let n = ranks as f64;
        let sent = 2.0 * (n - 1.0) / n * bytes / network.bandwidth;
        sent + network.latency
            * match self {
                _ if ranks < 2 => 0.0,
                Self::Ring => 2.0 * (n - 1.0),
                Self::Tree => 2.0 * n.log2().ceil(),
                Self::Shares { piece } => 2.0 * (n - 1.0) * (bytes / piece).ceil().max(1.0),
            }
    }
}

impl Exchange {
    /// Seconds of an agreement, whose few bytes are doubled from step to step.
    pub(crate) fn agree(&self) -> f64 {
        self.network.latency * (self.ranks as f64).log2().ceil()
    }

    fn send(&self, bytes: f64) -> f64 {
        let bytes = if self.halves { bytes / 2.0 } else { bytes };
        self.agree() + self.sum.time(bytes, self.ranks, self.network)
    }

    /// Seconds that a step of `layers`, of which the first `frozen` are frozen, takes; without an exchange for one rank.
    pub(crate) fn step(&self, layers: &[Layer], frozen: usize) -> f64 {
        let trained = &layers[frozen..];
        let forward: f64 = layers.iter().map(|layer| layer.forward).sum();
        let update: f64 = trained.iter().map(|layer| layer.update).sum();
        if self.ranks < 2 {
            return forward + trained.iter().map(|layer| layer.backward).sum::<f64>() + update;
        }
        // All agree on the loss first.
        let sent = self.sent(trained, forward + self.agree());
        let (share, weights) = match self.sharded {
            true => (self.ranks as f64, self.gathered(trained)),
            false => (1.0, 0.0),
        };
        sent + update / share + weights
    }

    /// When all gradients are there, of a backward that begins at `start`.
    fn sent(&self, trained: &[Layer], start: f64) -> f64 {
        let Some(bucket) = self.bucket else {
            let backward: f64 = trained.iter().map(|layer| layer.backward).sum();
            // Once more on the gradients.
            let bytes = trained.iter().map(|layer| layer.bytes).sum();
            return start + backward + self.agree() + self.send(bytes);
        };
        let (mut now, mut free, mut filled) = (start, start, 0.0);
        for layer in trained.iter().rev() {
            // A bucket is closed by the first gradient that it has no room for.
            if filled >= bucket {
                free = now.max(free) + self.send(filled);
                filled = 0.0;
            }
            now += layer.backward;
            filled += layer.bytes;
        }
        now.max(free) + self.send(filled)
    }

    /// Seconds to hand out the weights that each rank has updated.
    fn gathered(&self, trained: &[Layer]) -> f64 {
        let n = self.ranks as f64;
        let bytes: f64 = trained.iter().map(|layer| layer.bytes).sum();
        self.agree()
            + (n - 1.0) * self.network.latency
            + (n - 1.0) / n * bytes / self.network.bandwidth
    }
}

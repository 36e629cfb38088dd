//! Steps of either walk into a named part.

#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::model::{Freezable, Mapper};

impl Mapper<'_> {
    /// Maps the part called `name`.
    ///
    /// # Errors
    ///
    /// Those of the part.
    pub fn part<T: Freezable>(&mut self, name: &str, part: &T) -> Result<T> {
        self.at(name, |mapper| part.map_params(mapper))
    }

    /// Visits the part called `name`: [`part`](Self::part) without building anything.
    ///
    /// # Errors
    ///
    /// Those of the part.
    pub fn visit_part<T: Freezable>(&mut self, name: &str, part: &T) -> Result<()> {
        self.at(name, |mapper| part.visit_params(mapper))
    }
}

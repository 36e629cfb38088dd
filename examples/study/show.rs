//! What is made of a CSV.

mod bytes;
mod cells;
mod groups;
mod markdown;
mod picture;
mod sweep;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use freeze_core::Comparison;
use freeze_core::checkpoint::Goal;

use crate::common::Result;
use crate::results::{Line, read};
use groups::{Task, tasks};

/// Between these lines of a Markdown file stand the tables.
const MARKS: [&str; 2] = ["<!-- the tables begin -->", "<!-- the tables end -->"];

/// What to make, and of what.
#[derive(Args)]
pub(crate) struct Show {
    /// What `study run` wrote; of several files the rows of all
    #[arg(value_name = "CSV", required = true)]
    results: Vec<PathBuf>,
    /// Put the tables into this Markdown file, between the lines that mark where they stand; a file that is
    /// not there is written
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Compare the runs of the task on this HTML page: means over the seeds
    #[arg(long, value_name = "FILE", requires = "task")]
    page: Option<PathBuf>,
    /// Draw accuracy over time to this SVG file
    #[arg(long, value_name = "FILE", requires = "task")]
    picture: Option<PathBuf>,
    /// The task that is compared and drawn
    #[arg(long)]
    task: Option<String>,
}

impl Show {
    /// Prints the tables and writes the files that are asked for.
    ///
    /// # Errors
    ///
    /// A CSV cannot be read or holds nothing, there is no such task, or a file cannot be written.
    pub(crate) fn run(self) -> Result<()> {
        let mut lines: Vec<Line> = Vec::new();
        for path in &self.results {
            lines.extend(read(path)?);
        }
        let tasks = tasks(&lines);
        if tasks.is_empty() {
            return Err("there is no result yet; `study run` appends them".into());
        }
        let named = self.task.as_deref().map(|name| find(&tasks, name)).transpose()?;
        let tables = markdown::tables(&tasks);
        print!("{tables}");
        if let Some(path) = &self.markdown {
            replace(path, &tables)?;
        }
        if let (Some(path), Some(task)) = (&self.page, named) {
            comparison(task).write(path)?;
        }
        if let (Some(path), Some(task)) = (&self.picture, named) {
            write(path, &picture::draw(task))?;
        }
        Ok(())
    }
}

/// The runs of a task side by side.
fn comparison(task: &Task<'_>) -> Comparison {
    let mut page = Comparison::of("validation accuracy").title(task.name);
    if let Some(target) = task.target() {
        page = page.target(Goal::Highest, target);
    }
    for group in &task.groups {
        let name =
            format!("{}, {} epochs, cache {}", group.row.name, group.row.epochs, group.row.cache);
        page = page.curve(name, group.curve());
    }
    page
}

fn find<'a>(tasks: &'a [Task<'a>], name: &str) -> Result<&'a Task<'a>> {
    tasks.iter().find(|task| task.name == name).ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name).collect();
        format!("no task `{name}`; there are {}", names.join(", ")).into()
    })
}

/// Puts the tables between the marks of a file.
fn replace(path: &Path, tables: &str) -> Result<()> {
    let [begin, end] = MARKS;
    let between = format!("{begin}\n\n{tables}\n{end}");
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return write(path, &format!("# Results\n\n{between}\n"));
        }
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let parts =
        text.split_once(begin).and_then(|(front, rest)| Some((front, rest.split_once(end)?.1)));
    match parts {
        Some((front, back)) => write(path, &format!("{front}{between}{back}")),
        None => {
            let marks = format!("no lines `{begin}` and `{end}` to put the tables between");
            Err(format!("{}: {marks}; add them", path.display()).into())
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

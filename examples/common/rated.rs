//! The sentences with mean ratings that `examples/finetune/fetch.sh` gets.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::Result;

/// One of the four sets of Hutto and Gilbert, VADER, ICWSM 2014.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// 10 605 sentences of movie reviews
    Movies,
    /// 3708 sentences of reviews of electronics
    Amazon,
    /// 4200 tweets
    Tweets,
    /// 5190 sentences of newspaper editorials
    Editorials,
}

/// A sentence, and how people rated it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rated {
    /// `12_3` is sentence 3 of review 12; movies and tweets are numbered one by one.
    pub(crate) id: String,
    /// The mean of at least ten ratings from -4, extremely negative, to 4, extremely positive.
    pub(crate) rating: f64,
    pub(crate) text: String,
}

/// The folder that `fetch.sh` fills.
pub(crate) fn fetched() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/finetune/data")
}

impl Set {
    /// The sentences of the set, from the folder that `fetch.sh` filled.
    ///
    /// # Errors
    ///
    /// The file is missing or wrong: one line that names it and says what to do.
    pub(crate) fn read(self, folder: &Path) -> Result<Vec<Rated>> {
        let path = folder.join("texts").join(self.file());
        parse(&path.display().to_string(), &text_of(&path)?)
    }

    fn file(self) -> &'static str {
        match self {
            Self::Movies => "movieReviewSnippets_GroundTruth.txt",
            Self::Amazon => "amazonReviewSnippets_GroundTruth.txt",
            Self::Tweets => "tweets_GroundTruth.txt",
            Self::Editorials => "nytEditorialSnippets_GroundTruth.txt",
        }
    }
}

impl Rated {
    /// What the sentence is a part of: the review, or the sentence itself where it stands alone.
    pub(crate) fn review(&self) -> &str {
        self.id.split('_').next().unwrap_or(&self.id)
    }
}

/// A file that `fetch.sh` brings, as bytes.
///
/// # Errors
///
/// It cannot be read: the line says what to run.
pub(crate) fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let get = "`bash examples/finetune/fetch.sh` gets the texts and MiniLM";
    std::fs::read(path).map_err(|error| format!("{}: {error}; {get}", path.display()).into())
}

fn text_of(path: &Path) -> Result<String> {
    let not_text = |error| format!("{}: {error}; save it as UTF-8", path.display());
    Ok(String::from_utf8(bytes_of(path)?).map_err(|error| not_text(error.utf8_error()))?)
}

/// Reads lines of id, mean rating and text, with tabs between.
///
/// # Errors
///
/// There is none, or one that is not of this form, by its number.
pub(crate) fn parse(name: &str, lines: &str) -> Result<Vec<Rated>> {
    let read = |(at, line): (usize, &str)| {
        let fault = |what: String| {
            format!(
                "{name}: line {} {what}; expected id, mean rating and text between tabs",
                at + 1
            )
        };
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, rating, text] = columns[..] else {
            return Err(fault(format!("has {} columns", columns.len())));
        };
        match rating.parse::<f64>() {
            Ok(rating) if (-4.0..=4.0).contains(&rating) => {
                Ok(Rated { id: id.to_string(), rating, text: text.trim().to_string() })
            }
            _ => Err(fault(format!("has the rating `{rating}`, not a number from -4 to 4"))),
        }
    };
    let rated: Vec<Rated> =
        lines.lines().enumerate().map(read).collect::<std::result::Result<_, _>>()?;
    match rated.is_empty() {
        true => Err(format!("{name}: holds no line; get it again by `fetch.sh`").into()),
        false => Ok(rated),
    }
}

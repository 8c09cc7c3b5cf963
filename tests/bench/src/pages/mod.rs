//! The pages that are made from collected figures: plots, and the tables of the document, so that
//! nobody types a figure. It must not measure.

mod bars;
mod document;
mod plots;
mod scale;
mod targets;

use std::fs;
use std::path::PathBuf;

use crate::all::Collected;
use crate::pair::Failure;

/// From what, and to where.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder with `figures.json`, which `all` writes.
    #[arg(default_value = "target/bench")]
    figures: PathBuf,
    /// The folder with `performance.md`, beside which `performance/` gets the plots.
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
}

/// Writes the plots, and the tables between their marks.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let collected = Collected::read(&options.figures)?;
    let folder = options.docs.join("performance");
    fs::create_dir_all(&folder)?;
    for (file, svg) in plots::all(&collected) {
        fs::write(folder.join(file), svg)?;
        println!("{}", folder.join(file).display());
    }
    let page = options.docs.join("performance.md");
    let text = fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    fs::write(&page, document::filled(&text, &collected)?)?;
    println!("{}", page.display());
    Ok(())
}

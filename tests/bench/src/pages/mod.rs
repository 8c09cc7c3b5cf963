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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::all::Measurement;

    #[test]
    fn plots_and_tables_are_made_from_what_was_collected() {
        let folder = tempfile::tempdir().unwrap();
        let mut collected = Collected::default();
        let figures = r#"{"calls_1_vs_tonic": 2.5, "calls_256_vs_tonic": 13.0}"#;
        let said = [
            "| in flight | peer |",
            "|---|---|",
            "| 1 | tonic |",
            figures,
        ];
        let said = said.map(str::to_owned).to_vec();
        let took = Duration::from_secs(1);
        collected.put(Measurement::new("rpc", "quicraft-bench rpc", took, said).unwrap());
        collected.write(folder.path()).unwrap();
        let page = folder.path().join("performance.md");
        let parts = "<!-- figures: targets --><!-- end --><!-- figures: rpc --><!-- end -->";
        fs::write(&page, parts).unwrap();

        let place = || folder.path().to_owned();
        let (figures, docs) = (place(), place());
        run(&Options { figures, docs }).unwrap();

        let plot = fs::read_to_string(folder.path().join("performance/rpc.svg")).unwrap();
        assert!(
            plot.contains(">13<") && plot.contains("quicraft-bench rpc"),
            "{plot}"
        );
        // There is no plot of what was not measured.
        assert!(!folder.path().join("performance/bulk.svg").exists());
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.contains("| at least 12 | 13.00 | yes |"), "{text}");
        assert!(
            text.contains("| in flight | peer |\n| --- | ---: |"),
            "{text}"
        );
    }
}

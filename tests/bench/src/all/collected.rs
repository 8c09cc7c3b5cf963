//! What measurements have said, in one file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Machine;
use crate::pair::Failure;

const FILE: &str = "figures.json";

/// What one measurement has said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) name: String,
    /// As it can be repeated.
    pub(crate) command: String,
    pub(crate) seconds: f64,
    /// Its text for people, line by line.
    pub(crate) said: Vec<String>,
    /// Its last line.
    pub(crate) figures: Value,
}

impl Measurement {
    /// # Errors
    ///
    /// The last line is not one JSON object.
    pub(crate) fn new(
        name: &str,
        command: &str,
        took: Duration,
        mut said: Vec<String>,
    ) -> Result<Self, Failure> {
        let last = said.pop().ok_or("it said nothing")?;
        let figures: Value = serde_json::from_str(&last)?;
        if !figures.is_object() {
            return Err(format!("its last line is no object: {last}").into());
        }
        Ok(Self {
            name: name.to_owned(),
            command: command.to_owned(),
            seconds: took.as_secs_f64(),
            said,
            figures,
        })
    }

    /// A figure of the last line, if it is there.
    pub(crate) fn figure(&self, path: &str) -> Option<f64> {
        self.figures.pointer(path).and_then(Value::as_f64)
    }
}

/// All measurements, on one machine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Collected {
    pub(crate) machine: Machine,
    pub(crate) measurements: Vec<Measurement>,
}

impl Collected {
    /// What stands in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join(FILE);
        let text = fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}; run `quicraft-bench all`", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The same, or nothing yet.
    pub(crate) fn read_or_new(folder: &Path) -> Result<Self, Failure> {
        if folder.join(FILE).exists() {
            Self::read(folder)
        } else {
            Ok(Self::default())
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        fs::write(
            folder.join(FILE),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        Ok(())
    }

    /// Takes one in the place of an earlier one of its name.
    pub(crate) fn put(&mut self, measurement: Measurement) {
        self.measurements
            .retain(|earlier| earlier.name != measurement.name);
        self.measurements.push(measurement);
    }

    pub(crate) fn of(&self, name: &str) -> Option<&Measurement> {
        self.measurements
            .iter()
            .find(|measurement| measurement.name == name)
    }

    /// Where the file is, for people.
    pub(crate) fn place(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(said: &[&str]) -> Result<Measurement, Failure> {
        let said = said.iter().map(|line| (*line).to_owned()).collect();
        Measurement::new("rpc", "quicraft-bench rpc", Duration::from_secs(2), said)
    }

    #[test]
    fn the_last_line_is_the_figures() {
        let one = measurement(&["| a table |", "{\"a\": {\"b\": 7.5}}"]).unwrap();
        assert_eq!(one.said, ["| a table |"]);
        assert_eq!(one.figure("/a/b"), Some(7.5));
        assert_eq!(one.figure("/a/c"), None);
        assert!(measurement(&[]).is_err());
        assert!(measurement(&["{}", "a table"]).is_err());
        assert!(measurement(&["7"]).is_err());
    }

    #[test]
    fn a_new_run_takes_the_place_of_the_last_one_and_leaves_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut collected = Collected::read_or_new(folder.path()).unwrap();
        collected.put(measurement(&["{\"a\": 1}"]).unwrap());
        let mut other = measurement(&["{\"a\": 3}"]).unwrap();
        other.name = "bulk".to_owned();
        collected.put(other);
        collected.put(measurement(&["{\"a\": 2}"]).unwrap());
        collected.write(folder.path()).unwrap();
        let read = Collected::read(folder.path()).unwrap();
        assert_eq!(read.measurements.len(), 2);
        assert_eq!(read.of("rpc").unwrap().figure("/a"), Some(2.0));
        assert_eq!(read.of("bulk").unwrap().figure("/a"), Some(3.0));
    }
}

//! From runs to medians, ratios, a table and JSON. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::load::Taken;
use crate::pair::Failure;
use crate::report::{Spread, Table, ratio};

/// The network whose ratios are told.
const OURS: &str = "quicraft";

/// What was measured at once: this many groups and clients over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) groups: u64,
    pub(crate) clients: usize,
    pub(crate) network: &'static str,
}

impl Place {
    /// The key of the ratio of our network to this one.
    fn ratio_key(&self) -> String {
        format!(
            "writes_{}_{}_vs_{}",
            self.clients, self.groups, self.network
        )
    }
}

/// All rounds of one place.
#[derive(Debug, Default)]
struct Rounds {
    writes_per_second: Spread,
    p50_ms: Spread,
    p99_ms: Spread,
    cpu_us_per_write: Spread,
}

/// The rounds of all places.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<Place, Rounds>);

impl Figures {
    pub(crate) fn add(&mut self, place: Place, taken: &Taken) -> Result<(), Failure> {
        let rounds = self.0.entry(place).or_default();
        rounds.writes_per_second.add(taken.writes_per_second)?;
        rounds.p50_ms.add(taken.p50_ms)?;
        rounds.p99_ms.add(taken.p99_ms)?;
        rounds.cpu_us_per_write.add(taken.cpu_us_per_write)
    }

    /// Writes per second of our network over those of each other one, at the same place, by key.
    fn ratios(&self) -> Result<BTreeMap<String, f64>, Failure> {
        let mut ratios = BTreeMap::new();
        for (place, theirs) in self.0.iter().filter(|(place, _)| place.network != OURS) {
            let network = OURS;
            if let Some(ours) = self.0.get(&Place { network, ..*place }) {
                let ratio = ratio(&ours.writes_per_second, &theirs.writes_per_second)?;
                ratios.insert(place.ratio_key(), ratio);
            }
        }
        Ok(ratios)
    }

    /// One JSON object: every ratio as a key of its own, and the medians by network,
    /// clients and groups.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        let mut object = Map::new();
        for (key, ratio) in self.ratios()? {
            object.insert(key, json!(ratio));
        }
        let mut medians = json!({});
        for (place, rounds) in &self.0 {
            let (groups, clients) = (place.groups.to_string(), place.clients.to_string());
            medians[place.network][clients][groups] = json!({
                "writes_per_second": rounds.writes_per_second.median(),
                "p50_ms": rounds.p50_ms.median(),
                "p99_ms": rounds.p99_ms.median(),
                "cpu_us_per_write": rounds.cpu_us_per_write.median(),
            });
        }
        object.insert("medians".to_owned(), medians);
        Ok(Value::Object(object))
    }

    /// The same for people.
    pub(crate) fn table(&self) -> Result<Table, Failure> {
        let ratios = self.ratios()?;
        let mut table = Table::new([
            "network",
            "groups",
            "clients",
            "writes/s",
            "p50 ms",
            "p99 ms",
            "CPU us a write",
            "Quicraft / this",
        ]);
        for (place, rounds) in &self.0 {
            let ratio = ratios.get(&place.ratio_key());
            table.row([
                place.network.to_owned(),
                place.groups.to_string(),
                place.clients.to_string(),
                format!("{:.0}", rounds.writes_per_second),
                format!("{:.2}", rounds.p50_ms),
                format!("{:.2}", rounds.p99_ms),
                format!("{:.1}", rounds.cpu_us_per_write),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            ]);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(writes_per_second: f64) -> Taken {
        Taken {
            writes_per_second,
            p50_ms: 1.0,
            p99_ms: 2.0,
            cpu_us_per_write: 3.0,
        }
    }

    const fn place(network: &'static str) -> Place {
        Place {
            groups: 64,
            clients: 1_024,
            network,
        }
    }

    #[test]
    fn ratios_are_ours_over_theirs_by_medians() {
        let mut figures = Figures::default();
        for writes in [10.0, 300.0, 20.0] {
            figures.add(place(OURS), &taken(writes)).unwrap();
        }
        figures.add(place("tonic"), &taken(5.0)).unwrap();
        figures.add(place("channel"), &taken(40.0)).unwrap();
        let json = figures.json().unwrap();
        assert_eq!(json["writes_1024_64_vs_tonic"], 4.0);
        assert_eq!(json["writes_1024_64_vs_channel"], 0.5);
        let ours = &json["medians"]["quicraft"]["1024"]["64"];
        assert_eq!(ours["writes_per_second"], 20.0);
        let table = figures.table().unwrap().to_string();
        assert!(
            table.contains("4.00") && table.contains("20 (10..300)"),
            "{table}"
        );
    }

    #[test]
    fn a_place_without_ours_has_no_ratio() {
        let mut figures = Figures::default();
        figures.add(place("tonic"), &taken(5.0)).unwrap();
        assert_eq!(figures.json().unwrap().as_object().map(Map::len), Some(1));
    }

    #[test]
    fn a_round_without_writes_is_no_round() {
        assert!(Figures::default().add(place(OURS), &taken(0.0)).is_err());
    }
}

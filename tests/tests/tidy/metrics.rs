//! manager/METRICS.md and the code: every metric with its kind, and every event with its level and
//! target, stands in its tables, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{read, tree};

const KINDS: [&str; 3] = ["counter", "gauge", "histogram"];

/// The names of the metrics in a text, with their kinds.
fn metrics(text: &str) -> BTreeSet<(String, &'static str)> {
    let mut found = BTreeSet::new();
    for kind in KINDS {
        for after in text.split(&format!("metrics::{kind}!(")).skip(1) {
            let name = after.trim_start().strip_prefix('"');
            let name = name.and_then(|name| name.split('"').next());
            let name = name.unwrap_or_else(|| panic!("a {kind} without a literal name"));
            found.insert((name.to_owned(), kind));
        }
    }
    found
}

/// The names that the function `name` of a closed list of events returns.
fn events(text: &str) -> BTreeSet<String> {
    let (_, after) = text
        .split_once("pub const fn name(&self)")
        .expect("events have names");
    let (body, _) = after.split_once("\n    }\n").expect("a function ends");
    let named = body.split("=> \"").skip(1);
    named
        .filter_map(|after| after.split('"').next())
        .map(str::to_owned)
        .collect()
}

/// The cells of each row of the table under a heading, without backticks; the first cell is a name.
fn table(text: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let (_, after) = text
        .split_once(&format!("## {heading}\n"))
        .unwrap_or_else(|| panic!("METRICS.md has a part {heading}"));
    let part = after.split("\n## ").next().unwrap_or_default();
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    let mut named = BTreeMap::new();
    for row in rows {
        let mut cells = row.trim_matches('|').split('|');
        let name = cells.next().expect("a name").trim().trim_matches('`');
        let rest = cells.map(|cell| cell.trim().replace('`', "")).collect();
        let former = named.insert(name.to_owned(), rest);
        assert_eq!(former, None, "{name} stands there twice");
    }
    named
}

fn documented() -> String {
    read("manager/METRICS.md").text
}

#[test]
fn the_table_of_metrics_is_the_codes() {
    let library = ["certs/src/", "transport/src/", "manager/src/"];
    let sources = tree().iter().filter(|source| {
        let is_library = library.iter().any(|place| source.path.starts_with(place));
        is_library && source.is_rust() && !source.is_test
    });
    let actual: BTreeSet<_> = sources.flat_map(|source| metrics(&source.text)).collect();
    let table = table(&documented(), "Metrics");
    let shown: BTreeSet<_> = table
        .iter()
        .map(|(name, cells)| {
            let kind = KINDS.into_iter().find(|kind| *kind == cells[0]);
            (name.clone(), kind.unwrap_or("no kind of metric"))
        })
        .collect();
    assert!(actual.len() > 20, "{actual:?}");
    let missing: Vec<_> = actual.difference(&shown).collect();
    let gone: Vec<_> = shown.difference(&actual).collect();
    assert!(missing.is_empty(), "manager/METRICS.md lacks {missing:?}");
    assert!(gone.is_empty(), "manager/METRICS.md still has {gone:?}");
    for (name, kind) in &actual {
        assert!(name.starts_with("quicraft_"), "{name}");
        assert_eq!(
            *kind == "counter",
            name.ends_with("_total"),
            "{name}: {kind}"
        );
    }
}

#[test]
fn the_tables_of_events_are_the_codes() {
    let mut all = BTreeSet::new();
    for (code, heading) in [
        (
            "manager/src/watch/event.rs",
            "Events of groups and the cluster",
        ),
        ("transport/src/event.rs", "Events of links"),
    ] {
        let actual = events(&read(code).text);
        let table = table(&documented(), heading);
        let shown: BTreeSet<_> = table.into_keys().collect();
        let missing: Vec<_> = actual.difference(&shown).collect();
        let gone: Vec<_> = shown.difference(&actual).collect();
        assert!(actual.len() > 10, "{actual:?}");
        assert!(missing.is_empty(), "{heading} lacks {missing:?}");
        assert!(gone.is_empty(), "{heading} still has {gone:?}");
        // One counter counts both.
        for event in actual {
            assert!(all.insert(event.clone()), "{event} is a name of two events");
        }
    }
}

#[test]
fn metrics_and_events_are_found_where_they_are() {
    let code = "metrics::counter!(\n  \"a_total\", \"b\" => c); metrics::gauge!(\"d\")";
    let found: Vec<_> = metrics(code).into_iter().collect();
    assert_eq!(
        found,
        [("a_total".to_owned(), "counter"), ("d".to_owned(), "gauge")]
    );
    let code = "pub const fn name(&self) -> &str {\n match self {\n A => \"a\",\n B => \"b\",\n    }\n    }\n => \"c\"";
    let found: Vec<_> = events(code).into_iter().collect();
    assert_eq!(found, ["a", "b"]);
    let text = "## One\n| metric | kind |\n| `a` | counter | `x` |\n## Two\n| `b` | gauge |\n";
    assert_eq!(
        table(text, "One"),
        BTreeMap::from([("a".to_owned(), vec!["counter".to_owned(), "x".to_owned()])])
    );
}

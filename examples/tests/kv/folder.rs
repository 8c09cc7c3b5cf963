//! A data folder belongs to one node of one cluster, and to one process at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use quicraft_examples::kv::{DataFolder, FolderError};

use crate::entries::CLUSTER;

/// Every file below a folder with its bytes.
fn content(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let bytes = path.is_file().then(|| fs::read(&path).unwrap());
        found.insert(path.display().to_string(), bytes);
    }
    found
}

#[test]
fn the_same_node_gets_its_folder_again() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("new").join("data");
    drop(DataFolder::open(&path, CLUSTER, 7).unwrap());
    let before = content(&path);
    drop(DataFolder::open(&path, CLUSTER, 7).unwrap());
    assert_eq!(content(&path), before);
}

#[test]
fn a_folder_of_another_node_or_cluster_is_refused_and_unchanged() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    drop(DataFolder::open(&path, CLUSTER, 7).unwrap());
    fs::remove_file(path.join("lock")).unwrap();
    let before = content(&path);

    let error = DataFolder::open(&path, CLUSTER, 8).unwrap_err();
    assert!(
        matches!(
            error,
            FolderError::Foreign {
                found_node: 7,
                node: 8,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("--data"),
        "it says what to do: {error}"
    );
    let error = DataFolder::open(&path, "other.example", 7).unwrap_err();
    assert!(matches!(error, FolderError::Foreign { .. }), "{error}");
    assert_eq!(content(&path), before);
}

#[test]
fn a_folder_of_somebody_else_is_refused_and_unchanged() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("letter.txt"), "dear").unwrap();
    let before = content(parent.path());
    let error = DataFolder::open(parent.path(), CLUSTER, 1).unwrap_err();
    assert!(matches!(error, FolderError::Unstamped { .. }), "{error}");
    assert_eq!(content(parent.path()), before);
}

#[test]
fn a_damaged_stamp_or_another_layout_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    drop(DataFolder::open(&path, CLUSTER, 7).unwrap());
    fs::write(path.join("identity.toml"), "format = 1\nclus").unwrap();
    let error = DataFolder::open(&path, CLUSTER, 7).unwrap_err();
    assert!(matches!(error, FolderError::Damaged { .. }), "{error}");
    let stamp = format!("format = 2\ncluster = \"{CLUSTER}\"\nnode = 7\n");
    fs::write(path.join("identity.toml"), stamp).unwrap();
    let error = DataFolder::open(&path, CLUSTER, 7).unwrap_err();
    assert!(
        matches!(error, FolderError::Format { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn two_cannot_have_it_open() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let first = DataFolder::open(&path, CLUSTER, 7).unwrap();
    let error = DataFolder::open(&path, CLUSTER, 7).unwrap_err();
    assert!(matches!(error, FolderError::InUse { .. }), "{error}");
    drop(first);
    DataFolder::open(&path, CLUSTER, 7).unwrap();
}

#[test]
fn a_first_start_that_died_early_can_be_repeated() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("lock"), "").unwrap();
    fs::write(path.join("identity.toml.new"), "form").unwrap();
    DataFolder::open(&path, CLUSTER, 7).unwrap();
}

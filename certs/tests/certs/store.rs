//! Replacing credentials.

use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::{
    Authority, ClusterName, CredentialStore, Credentials, NodeId, ReplaceError, WallClock,
};

use crate::odd::{CLUSTER, DAY, NOW, at};

struct House {
    clock: WallClock,
    authority: Authority,
}

impl House {
    fn new(cluster: &str) -> Self {
        let clock = WallClock::manual(at(NOW));
        let cluster = ClusterName::new(cluster).unwrap();
        Self {
            authority: Authority::with_clock(cluster, clock.clone()).unwrap(),
            clock,
        }
    }

    fn credentials(&self, id: u64) -> Credentials {
        let issued = self.authority.issue(NodeId::new(id).unwrap()).unwrap();
        issued.credentials(&self.authority).unwrap()
    }
}

#[test]
fn only_the_same_node_of_the_same_cluster_takes_the_place() {
    let house = House::new(CLUSTER);
    let store = CredentialStore::new(house.credentials(7));
    let first = store.current();
    assert_eq!(store.generation(), 1);

    for other in [
        house.credentials(8),
        House::new("other.example").credentials(7),
    ] {
        let found = other.identity().clone();
        match store.replace(other) {
            Err(ReplaceError::OtherIdentity { own, found: named }) => {
                assert_eq!((own, named), (store.identity(), found));
            }
            other => panic!("{other:?}"),
        }
        assert!(
            Arc::ptr_eq(&store.current(), &first),
            "the former ones stay"
        );
        assert_eq!(store.generation(), 1);
    }

    store.replace(house.credentials(7)).unwrap();
    assert_eq!(store.generation(), 2);
    assert_ne!(store.current().not_after(), 0);
    assert!(!Arc::ptr_eq(&store.current(), &first));
}

#[test]
fn credentials_that_expired_since_they_were_loaded_do_not_take_the_place() {
    let house = House::new(CLUSTER);
    let store = CredentialStore::new(house.credentials(7));
    let loaded_long_ago = house.credentials(7);
    house.clock.advance(Duration::from_secs(90 * DAY + 1));
    assert_eq!(store.now(), at(NOW + 90 * DAY + 1));
    let refused = store.replace(loaded_long_ago);
    assert!(
        matches!(refused, Err(ReplaceError::NotValid(_))),
        "{refused:?}"
    );
    assert_eq!(store.generation(), 1);
    store.replace(house.credentials(7)).unwrap();
}

#[test]
fn replacements_at_once_all_count() {
    let house = House::new(CLUSTER);
    let store = CredentialStore::new(house.credentials(7));
    let renewed: Vec<Credentials> = (0..8).map(|_| house.credentials(7)).collect();
    std::thread::scope(|scope| {
        for credentials in renewed {
            let store = &store;
            scope.spawn(move || store.replace(credentials).unwrap());
        }
    });
    assert_eq!(store.generation(), 9);
}

#[test]
fn renewal_is_due_after_two_thirds_of_the_life() {
    let house = House::new(CLUSTER);
    let credentials = house.credentials(7);
    let begin = NOW - 5 * 60;
    let end = NOW + 90 * DAY;
    assert_eq!(credentials.not_after(), end);
    assert_eq!(credentials.renewal_due(), begin + (end - begin) / 3 * 2);
}

#[test]
fn no_key_is_shown() {
    let house = House::new(CLUSTER);
    let issued = house.authority.issue(NodeId::new(7).unwrap()).unwrap();
    let key: Vec<&str> = issued.key_pem().lines().collect();
    let shown = format!(
        "{:?}{issued:?}{:?}",
        house.authority,
        issued.credentials(&house.authority).unwrap()
    );
    assert!(!shown.contains(key[1]), "{shown}");
    assert!(shown.contains("[elided]"));
}

//! Each limit of the places at the limit and one past it, and what holds whoever knocks.

use proptest::prelude::*;

use super::*;

const LIMITS: PlaceLimits = PlaceLimits {
    soft: 4,
    max: 12,
    reserved: 4,
    per_source: 3,
};

fn knock(address: &str, validated: bool, known: bool) -> Knock {
    Knock {
        address: address.parse().unwrap(),
        validated,
        known,
    }
}

fn taken(all: usize, strangers: usize, of_source: usize) -> PlacesTaken {
    PlacesTaken {
        all,
        strangers,
        of_source,
    }
}

/// T6: each limit, at it and one past it.
#[test]
fn each_limit_holds_at_the_limit_and_one_past_it() {
    use Reception::{Accept, Ignore, Refuse, Retry};
    let plain = knock("10.0.0.1", false, false);
    let claims = knock("10.0.0.1", false, true);
    let stranger = knock("10.0.0.1", true, false);
    let peer = knock("10.0.0.1", true, true);
    for (counts, who, expected) in [
        // The soft limit, whoever it says that it is.
        (taken(3, 3, 0), plain, Accept),
        (taken(4, 4, 0), plain, Retry),
        (taken(3, 0, 0), claims, Accept),
        (taken(4, 0, 0), claims, Retry),
        (taken(4, 4, 0), stranger, Accept),
        // The places of strangers.
        (taken(7, 7, 0), plain, Retry),
        (taken(8, 8, 0), plain, Ignore),
        (taken(7, 7, 0), stranger, Accept),
        (taken(8, 8, 0), stranger, Ignore),
        // The reserve.
        (taken(8, 8, 0), peer, Accept),
        (taken(11, 8, 0), peer, Accept),
        (taken(12, 8, 0), peer, Ignore),
        (taken(12, 8, 0), claims, Retry),
        (taken(11, 7, 0), stranger, Accept),
        (taken(12, 7, 0), stranger, Ignore),
        // The share of a source.
        (taken(3, 3, 2), stranger, Accept),
        (taken(3, 3, 3), stranger, Refuse),
        (taken(3, 0, 2), peer, Accept),
        (taken(3, 0, 3), peer, Refuse),
        (taken(3, 3, 3), plain, Accept),
    ] {
        assert_eq!(
            receive(&LIMITS, counts, &who),
            expected,
            "{counts:?} {who:?}"
        );
    }
}

#[test]
fn a_source_is_a_subnet_or_the_address_of_a_peer() {
    let of = |address: &str, known| Source::of(&knock(address, true, known));
    assert_ne!(of("10.0.0.1", false), of("10.0.0.2", false));
    assert_eq!(of("fd00::1", false), of("fd00::ffff:2", false));
    assert_ne!(of("fd00::1", false), of("fd00:0:0:1::1", false));
    assert_ne!(of("fd00::1", true), of("fd00::2", true));
    // A stranger next door takes nothing of a peer's share.
    assert_ne!(of("fd00::1", true), of("fd00::1", false));
}

#[test]
fn an_address_that_is_not_validated_is_counted_for_nobody() {
    let mut places = Places::new(LIMITS);
    let plain = knock("10.0.0.1", false, true);
    let held: Vec<_> = (0..LIMITS.soft)
        .map(|_| places.receive(&plain).1.unwrap())
        .collect();
    let validated = knock("10.0.0.1", true, true);
    assert_eq!(places.taken(&validated), taken(4, 4, 0));
    for place in held {
        places.give_back(place);
    }
    assert_eq!(places.taken(&validated), taken(0, 0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Knock(Knock),
    GiveBack(prop::sample::Index),
}

/// Few addresses, so that shares fill; which of them are known is part of the address.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let knock = (0_u8..12, any::<bool>()).prop_map(|(host, validated)| {
        Step::Knock(Knock {
            address: IpAddr::from([10, 0, 0, host]),
            validated,
            known: host < 4,
        })
    });
    let give_back = any::<prop::sample::Index>().prop_map(Step::GiveBack);
    prop::collection::vec(prop_oneof![4 => knock, 1 => give_back], 0..200)
}

fn limits() -> impl Strategy<Value = PlaceLimits> {
    (1_usize..40)
        .prop_flat_map(|max| (Just(max), 0..max))
        .prop_flat_map(|(max, reserved)| {
            let strangers = max - reserved;
            (0..=strangers, 1..=strangers).prop_map(move |(soft, per_source)| PlaceLimits {
                soft,
                max,
                reserved,
                per_source,
            })
        })
}

/// Runs the steps, and shows every knock with what was taken before it.
fn run(
    limits: PlaceLimits,
    steps: Vec<Step>,
    mut shown: impl FnMut(PlacesTaken, &Knock, Reception, &[(Knock, Place)]),
) -> (Places, Vec<(Knock, Place)>) {
    let mut places = Places::new(limits);
    let mut held: Vec<(Knock, Place)> = Vec::new();
    for step in steps {
        match step {
            Step::GiveBack(_) if held.is_empty() => {}
            Step::GiveBack(index) => {
                let (_, place) = held.swap_remove(index.index(held.len()));
                places.give_back(place);
            }
            Step::Knock(knock) => {
                let before = places.taken(&knock);
                let (reception, place) = places.receive(&knock);
                assert_eq!(place.is_some(), reception == Reception::Accept);
                held.extend(place.map(|place| (knock, place)));
                shown(before, &knock, reception, &held);
            }
        }
    }
    (places, held)
}

proptest! {
    /// T6: no bound is passed, in any order of knocks.
    #[test]
    fn no_bound_is_passed(limits in limits(), steps in steps()) {
        run(limits, steps, |_, knock, _, held| {
            let count = |counts: &dyn Fn(&Knock) -> bool| {
                held.iter().filter(|(knock, _)| counts(knock)).count()
            };
            assert!(held.len() <= limits.max);
            assert!(count(&|other| !(other.known && other.validated)) <= limits.max - limits.reserved);
            assert!(count(&|other| !other.validated) <= limits.soft);
            let of_source = count(&|other| other.validated && other.address == knock.address);
            assert!(of_source <= limits.per_source);
        });
    }

    /// Whatever strangers do, and whoever claims to be a known peer, a known peer that has proven its
    /// address has a place of the reserve, unless known peers have them or it has its own share.
    #[test]
    fn the_reserve_is_there_for_known_peers(limits in limits(), steps in steps()) {
        run(limits, steps, |before, knock, reception, _| {
            let known_has = before.all - before.strangers;
            if knock.known && knock.validated
                && known_has < limits.reserved && before.of_source < limits.per_source
            {
                assert_eq!(reception, Reception::Accept);
            }
            // And it is never left without the way to prove it.
            if knock.known && !knock.validated {
                assert!(matches!(reception, Reception::Accept | Reception::Retry));
            }
        });
    }

    /// Nobody is told anything but a Retry at an address that is not proven, so that nobody can make
    /// this node talk to others; and a Retry is never asked for twice.
    #[test]
    fn who_has_proven_nothing_is_told_nothing(limits in limits(), steps in steps()) {
        run(limits, steps, |_, knock, reception, _| {
            if knock.validated {
                assert_ne!(reception, Reception::Retry);
            } else {
                assert_ne!(reception, Reception::Refuse);
            }
        });
    }

    #[test]
    fn all_places_come_back(limits in limits(), steps in steps()) {
        let (mut places, held) = run(limits, steps, |_, _, _, _| {});
        for (_, place) in held {
            places.give_back(place);
        }
        assert_eq!((places.all, places.strangers, places.of_source.len()), (0, 0, 0));
    }
}

use super::*;
use NamePolicy::*;
use proptest::prelude::*;

fn id(server: &str) -> ServerId {
    server.parse().expect("a name of a server")
}

/// `server/name`, `server/name=rename`, `-server/name` for a hidden one.
fn offer(text: &str) -> Offer {
    let (hidden, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (server, name) = text.split_once('/').expect("a slash");
    let (name, rename) = match name.split_once('=') {
        Some((name, rename)) => (name, Some(rename.to_owned())),
        None => (name, None),
    };
    Offer {
        server: id(server),
        name: name.to_owned(),
        rename,
        hidden,
    }
}

fn table(policy: NamePolicy, priority: &[&str], offers: &[&str]) -> Names {
    let priority: Vec<ServerId> = priority.iter().map(|server| id(server)).collect();
    let offers: Vec<Offer> = offers.iter().map(|text| offer(text)).collect();
    names(policy, &priority, &offers)
}

/// "shown < server/name" for each.
#[track_caller]
fn check(policy: NamePolicy, priority: &[&str], offers: &[&str], expected: &[&str]) {
    let names = table(policy, priority, offers);
    let got: Vec<String> = names
        .iter()
        .map(|(shown, target)| format!("{shown} < {}/{}", target.server, target.name))
        .collect();
    assert_eq!(got, expected, "{policy:?} {offers:?}");
}

#[test]
fn always_prefixed() {
    check(Prefix, &[], &[], &[]);
    check(
        Prefix,
        &["ignored"],
        &["b/read", "a/read", "a/write=put", "-a/drop"],
        &["a__put < a/write", "a__read < a/read", "b__read < b/read"],
    );
    // Renamed on top of another of its own: the one that was not renamed keeps the name.
    check(
        Prefix,
        &[],
        &["a/alpha=read", "a/read"],
        &["a__read < a/read", "a__read_684aa119 < a/alpha"],
    );
    // Listed twice by its server.
    check(Prefix, &[], &["a/x", "a/x"], &["a__x < a/x"]);
}

#[test]
fn what_clients_would_refuse_is_changed_and_marked() {
    let long = "x".repeat(61);
    let longer = "x".repeat(62);
    let many = "é".repeat(200);
    for (offered, stem) in [
        ("a/get user", "a__get_user_"),
        ("a/get.user", "a__get_user_"),
        ("a/größe", "a__gr__e_"),
        ("my.server/read", "my_server__read_"),
        ("a__b/read", "a__b__read_"),
        ("a_/read", "a___read_"),
        (
            format!("a/{longer}").as_str(),
            &format!("a__{}_", "x".repeat(52)),
        ),
        (
            format!("a/{many}").as_str(),
            &format!("a__{}_", "_".repeat(52)),
        ),
    ] {
        let names = table(Prefix, &[], &[offered]);
        let (shown, target) = names.iter().next().expect("one");
        let digits = shown.strip_prefix(stem);
        let marked =
            digits.is_some_and(|d| d.len() == 8 && d.chars().all(|c| c.is_ascii_hexdigit()));
        assert!(marked, "{offered}: {shown}");
        assert!(is_allowed(shown), "{offered}: {shown}");
        assert_eq!(target.name, offer(offered).name);
    }
    let fits = format!("a/{long}");
    check(Prefix, &[], &[&fits], &[&format!("a__{long} < {fits}")]);
}

#[test]
fn names_that_would_mean_two_things_differ() {
    let names = table(
        Prefix,
        &[],
        &["a/b__c", "a__b/c", "a/_x", "a_/x", "a.b/x", "a_b/x"],
    );
    assert_eq!(names.iter().count(), 6);
    assert_eq!(names.shown(&id("a"), "b__c"), Some("a__b__c"));
    assert_eq!(names.shown(&id("a"), "_x"), Some("a___x"));
    assert_eq!(names.shown(&id("a_b"), "x"), Some("a_b__x"));
    // A name that imitates a hash takes nobody's place but its own.
    let of_space = names_of("a/b c");
    let imitation = of_space.strip_prefix("a__").expect("a prefix");
    let both = table(Prefix, &[], &["a/b c", &format!("a/{imitation}")]);
    assert_eq!(both.shown(&id("a"), imitation), Some(of_space.as_str()));
    let other = both.shown(&id("a"), "b c").expect("shown");
    assert!(
        other.starts_with("a__b_c_") && other.len() == "a__b_c_".len() + 16,
        "{other}"
    );
}

fn names_of(text: &str) -> String {
    let names = table(Prefix, &[], &[text]);
    names.iter().next().expect("one").0.to_owned()
}

#[test]
fn the_first_keeps_the_plain_name() {
    let offers = ["a/read", "b/read", "b/write", "c/read"];
    check(
        Priority,
        &["b"],
        &offers,
        &[
            "a__read < a/read",
            "c__read < c/read",
            "read < b/read",
            "write < b/write",
        ],
    );
    check(
        Priority,
        &[],
        &offers,
        &[
            "b__read < b/read",
            "c__read < c/read",
            "read < a/read",
            "write < b/write",
        ],
    );
    let names = table(Priority, &["b"], &offers);
    assert_eq!(
        names.conflicts,
        ["read is offered by a, b and c; b keeps the name, the others' is prefixed"]
    );
    // Hidden or renamed, there is no conflict.
    check(
        Priority,
        &["b"],
        &["a/read", "-b/read", "c/read=look"],
        &["look < c/read", "read < a/read"],
    );
    // A plain name that looks like a prefixed one.
    let names = table(Priority, &["b"], &["a/read", "b/read", "b/a__read"]);
    assert_eq!(names.iter().count(), 3);
    assert_eq!(names.shown(&id("b"), "a__read"), Some("a__read"));
    assert_eq!(names.conflicts.len(), 2);
}

#[test]
fn by_hand_a_double_is_shown_for_none() {
    let offers = ["a/read", "b/read", "b/write"];
    check(Manual, &["a"], &offers, &["write < b/write"]);
    assert_eq!(
        table(Manual, &[], &offers).conflicts,
        [
            "read is offered by a and b; it is shown for none of them until all but one are renamed or hidden"
        ]
    );
    for solved in [["a/read=look", "b/read"], ["-a/read", "b/read"]] {
        let names = table(Manual, &[], &solved);
        assert_eq!(names.shown(&id("b"), "read"), Some("read"));
        assert!(names.conflicts.is_empty());
    }
}

#[test]
fn both_ways() {
    let names = table(Prefix, &[], &["a/read", "-a/drop"]);
    let target = names.target("a__read").expect("shown");
    assert_eq!(
        (target.server.as_str(), target.name.as_str()),
        ("a", "read")
    );
    assert_eq!(names.target("read"), None);
    assert_eq!(names.shown(&id("a"), "drop"), None);
    assert_eq!(names.shown(&id("b"), "read"), None);
    assert_eq!(Names::default().iter().count(), 0);
}

fn offers() -> impl Strategy<Value = Vec<Offer>> {
    let server = prop_oneof!["[ab]", "[ab][_.]{1,2}", "[ab]__[ab]"];
    let name = prop_oneof!["[ab_]{0,4}", "[a .é]{0,3}", "a{58,66}"];
    let one = (
        server,
        name,
        prop::option::weighted(0.2, "[ab_]{1,3}"),
        prop::bool::weighted(0.2),
    );
    let one = one.prop_map(|(server, name, rename, hidden)| Offer {
        server: id(&server),
        name,
        rename,
        hidden,
    });
    proptest::collection::vec(one, 0..24)
}

/// As a server lists them: each name once.
fn once(offers: Vec<Offer>) -> Vec<Offer> {
    let mut seen = BTreeSet::new();
    let fresh = |offer: &Offer| seen.insert((offer.server.clone(), offer.name.clone()));
    offers.into_iter().filter(fresh).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every offer that is to be seen is, under an allowed name of its own, and the way back leads to it. Where a policy hides
    /// doubles, it says so.
    #[test]
    fn one_to_one(offers in offers().prop_map(once), policy in prop_oneof![Just(Prefix), Just(Priority), Just(Manual)]) {
        let names = names(policy, &[id("b")], &offers);
        for (shown, target) in names.iter() {
            prop_assert!(is_allowed(shown), "{}", shown);
            prop_assert_eq!(names.shown(&target.server, &target.name), Some(shown));
        }
        let visible = offers.iter().filter(|offer| !offer.hidden).count();
        let shown = names.iter().count();
        if policy == Manual {
            prop_assert!(shown == visible || !names.conflicts.is_empty());
        } else {
            prop_assert_eq!(shown, visible);
        }
        for offer in offers.iter().filter(|offer| offer.hidden) {
            prop_assert_eq!(names.shown(&offer.server, &offer.name), None);
        }
    }

    /// The order in which servers answered does not matter.
    #[test]
    fn order_does_not_matter(offers in offers().prop_map(once), policy in prop_oneof![Just(Prefix), Just(Priority), Just(Manual)]) {
        let backwards: Vec<Offer> = offers.iter().rev().cloned().collect();
        prop_assert_eq!(names(policy, &[], &offers), names(policy, &[], &backwards));
    }

    /// Prefixed, a server's names do not depend on the others.
    #[test]
    fn others_change_nothing(offers in offers().prop_map(once)) {
        let all = names(Prefix, &[], &offers);
        let alone: Vec<Offer> = offers.iter().filter(|o| o.server == id("a")).cloned().collect();
        for (shown, target) in names(Prefix, &[], &alone).iter() {
            prop_assert_eq!(all.shown(&target.server, &target.name), Some(shown));
        }
    }

    /// A name that may be shown is shown as it is, so a plain table of a table is the same table.
    #[test]
    fn again_is_the_same(offers in offers().prop_map(once)) {
        let first = names(Prefix, &[], &offers);
        let again: Vec<Offer> = first
            .iter()
            .map(|(shown, _)| Offer { server: id("all"), name: shown.to_owned(), rename: None, hidden: false })
            .collect();
        for (shown, target) in names(Manual, &[], &again).iter() {
            prop_assert_eq!(shown, &target.name);
        }
    }
}

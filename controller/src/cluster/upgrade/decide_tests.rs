//! What comes next, from what is there.

use super::*;
use rstest::rstest;

const OLD: &str = "v1.35.6-k3s1";
const NEW: &str = "v1.36.3-k3s1";

/// A server of `version`: `+` is ready, `-` is not, `!` proves that it never will be.
fn member(ordinal: u32, version: &str, how: char) -> Member {
    let name = format!("s-{ordinal}");
    Member {
        ordinal,
        version: Some(version.to_owned()),
        ready: how == '+',
        state: format!("pod {name:?} runs and is not ready yet"),
        failure: (how == '!').then(|| format!("pod {name:?}: ImagePullBackOff")),
        name,
    }
}

/// Servers as `o+ o+ n-`: old and new ones, from the first. `.` is one that is not there.
fn servers(text: &str) -> Vec<Member> {
    let words = text.split_whitespace().enumerate();
    let server = |(ordinal, word): (usize, &str)| {
        let mut letters = word.chars();
        let version = match letters.next() {
            Some('o') => OLD,
            Some('n') => NEW,
            _ => return None,
        };
        Some(member(u32::try_from(ordinal).unwrap(), version, letters.next().unwrap()))
    };
    words.filter_map(server).collect()
}

fn world(text: &str) -> World {
    World {
        wanted: Some(NEW.to_owned()),
        running: Some(OLD.to_owned()),
        set: Some(Told { version: OLD.to_owned(), partition: 0 }),
        replicas: u32::try_from(text.split_whitespace().count()).unwrap(),
        servers: servers(text),
        ..World::default()
    }
}

/// The set has been told the new version.
fn begun(text: &str, partition: u32, reached: bool) -> World {
    World {
        set: Some(Told { version: NEW.to_owned(), partition }),
        under_way: Some(UpgradeStatus {
            to: NEW.to_owned(),
            reached: reached.then(|| NEW.to_owned()),
            failure: None,
        }),
        ..world(text)
    }
}

fn unwell(world: World) -> World {
    World { unwell: Some("2 members vote".to_owned()), ..world }
}

#[rstest]
// One server.
#[case(world("o+"), (NEW, 0), OLD, "Upgrading", "0 of 1 servers runs v1.36.3-k3s1; waiting: the first is replaced")]
#[case(world("o-"), (NEW, 0), OLD, "Upgrading", "the first is replaced")]
#[case(begun("o+", 0, false), (NEW, 0), OLD, "Upgrading", "s-0 is replaced next")]
#[case(begun(".", 0, false), (NEW, 0), OLD, "Upgrading", "a server's pod is being made")]
#[case(begun("n-", 0, false), (NEW, 0), OLD, "Upgrading", "pod \"s-0\" runs and is not ready yet")]
#[case(begun("n+", 0, false), (NEW, 0), NEW, "UpToDate", "all servers run v1.36.3-k3s1")]
#[case(begun("n!", 0, false), (OLD, 0), OLD, "RolledBack", "did not start (pod \"s-0\": ImagePullBackOff)")]
// Three: none is taken away before all are well, and each waits for the one before it.
#[case(world("o+ o+ o+"), (NEW, 2), OLD, "Upgrading", "0 of 3 servers run v1.36.3-k3s1")]
#[case(unwell(world("o+ o+ o+")), (OLD, 0), OLD, "Waiting", "before all of them are well: 2 members vote")]
#[case(begun("o+ o+ o+", 2, false), (NEW, 2), OLD, "Upgrading", "s-2 is replaced next")]
#[case(begun("o+ o+ n-", 2, false), (NEW, 2), OLD, "Upgrading", "pod \"s-2\"")]
#[case(unwell(begun("o+ o+ n+", 2, false)), (NEW, 2), OLD, "Upgrading", "1 of 3 servers run v1.36.3-k3s1; waiting: 2 members vote")]
#[case(begun("o+ o- n+", 2, false), (NEW, 2), OLD, "Upgrading", "pod \"s-1\"")]
#[case(begun("o+ o+ n+", 2, true), (NEW, 1), OLD, "Upgrading", "1 of 3 servers run")]
#[case(begun("o+ n+ n-", 1, true), (NEW, 1), OLD, "Upgrading", "pod \"s-2\"")]
#[case(begun("o+ n+ n+", 1, true), (NEW, 0), OLD, "Upgrading", "2 of 3 servers run")]
#[case(unwell(begun("n+ n+ n+", 0, true)), (NEW, 0), OLD, "Upgrading", "2 members vote")]
#[case(begun("n+ n+ n+", 0, true), (NEW, 0), NEW, "UpToDate", "")]
// It was begun, and the cache does not show it yet.
#[case(unwell(World { set: world("o+").set, ..begun("o+ o+ o+", 2, false) }), (NEW, 2), OLD, "Upgrading", "s-2 is replaced next")]
#[case(World { under_way: None, ..begun("o+ o+ n-", 2, false) }, (NEW, 2), OLD, "Upgrading", "pod \"s-2\"")]
// The first decides whether there is a way back.
#[case(begun("o+ o+ n!", 2, false), (OLD, 0), OLD, "RolledBack", "set it to v1.35.6-k3s1 or to another version")]
#[case(begun("o+ n! n+", 1, true), (NEW, 1), OLD, "Stalled", "1 of 3 servers run v1.36.3-k3s1, and s-1 does not start: pod \"s-1\": ImagePullBackOff")]
#[case(begun("o+ n! n-", 1, true), (NEW, 1), OLD, "Stalled", "cannot go back")]
fn steps(
    #[case] world: World,
    #[case] servers: (&str, u32),
    #[case] running: &str,
    #[case] reason: &str,
    #[case] message: &str,
) {
    let course = decide(&world);
    assert_eq!((course.servers.as_str(), course.partition), servers, "{course:?}");
    assert_eq!(course.running.as_deref(), Some(running));
    assert_eq!(course.agents, running, "agents and the virtual kubelet follow when all servers are done");
    assert_eq!(course.report.reason, reason, "{course:?}");
    assert_eq!(course.report.ok, reason == "UpToDate");
    assert!(course.report.message.contains(message), "{:?}", course.report.message);
    let has_failed = course.under_way.is_some_and(|change| change.failure.is_some());
    assert_eq!(has_failed, reason == "RolledBack");
}

#[test]
fn what_was_taken_back_is_not_tried_again_until_something_else_is_asked_for() {
    let back = decide(&begun("o+ o+ n!", 2, false));
    let after = |wanted: &str| {
        let world = World { wanted: Some(wanted.to_owned()), ..world("o+ o+ o+") };
        decide(&World { under_way: back.under_way.clone(), ..world })
    };
    assert_eq!(after(NEW), back);
    assert_eq!((after(OLD).report.reason, after(OLD).under_way), ("UpToDate", None));
    let other = after("v1.36.4-k3s1");
    assert_eq!((other.servers.as_str(), other.partition), ("v1.36.4-k3s1", 2));
    assert_eq!(
        other.under_way.map(|change| (change.to, change.failure)),
        Some(("v1.36.4-k3s1".to_owned(), None))
    );
}

#[rstest]
#[case("v1.37.0-k3s1", "set a version v1.36 first")]
#[case("v1.34.9-k3s1", "cannot go back")]
fn what_is_refused_changes_nothing(#[case] wanted: &str, #[case] why: &str) {
    let wanted = Some(wanted.to_owned());
    let course = decide(&World { wanted: wanted.clone(), ..world("o+ o+ o+") });
    assert_eq!((course.servers.as_str(), course.partition, course.under_way), (OLD, 0, None));
    assert_eq!(course.running.as_deref(), Some(OLD));
    assert_eq!((course.report.ok, course.report.reason), (false, "Refused"));
    assert!(course.report.message.contains(why), "{}", course.report.message);
    // An upgrade that was begun goes on.
    let course = decide(&World { wanted, ..begun("o+ o+ n+", 2, true) });
    assert_eq!((course.servers.as_str(), course.partition, course.report.reason), (NEW, 1, "Refused"));
}

#[test]
fn it_can_be_taken_back_by_hand_until_a_server_ran() {
    let wanted = || Some(OLD.to_owned());
    let back = decide(&World { wanted: wanted(), ..begun("o+ o+ n-", 2, false) });
    assert_eq!((back.servers.as_str(), back.partition, back.under_way), (OLD, 0, None));
    assert!(back.report.ok);
    let refused = decide(&World { wanted: wanted(), ..begun("o+ o+ n+", 2, true) });
    assert_eq!((refused.servers.as_str(), refused.report.reason), (NEW, "Refused"));
}

#[test]
fn before_anything_ran_any_version_will_do() {
    let world = |wanted: &str, servers| World {
        wanted: Some(wanted.to_owned()),
        running: None,
        set: Some(Told { version: NEW.to_owned(), partition: 0 }),
        ..world(servers)
    };
    let mistyped = decide(&world(OLD, "n!"));
    assert_eq!((mistyped.servers.as_str(), mistyped.running), (OLD, None));
    let ran = decide(&world(NEW, "n+"));
    assert_eq!((ran.servers.as_str(), ran.running.as_deref()), (NEW, Some(NEW)));
}

#[test]
fn agents_follow() {
    let agents = |text| World { agents: servers(text), ..begun("n+", 0, true) };
    let course = decide(&agents("o+ o+"));
    assert_eq!((course.agents.as_str(), course.running.as_deref()), (NEW, Some(NEW)));
    assert_eq!(course.report.reason, "Upgrading");
    let later = |text| World { running: Some(NEW.to_owned()), under_way: None, ..agents(text) };
    let course = decide(&later("o+ n-"));
    assert!(course.report.message.contains("1 of 2 agents"), "{}", course.report.message);
    assert!(decide(&later("n- n+")).report.ok);
}

#[test]
fn another_version_on_the_way_keeps_what_was_reached() {
    let wanted = || Some("v1.36.4-k3s1".to_owned());
    let course = decide(&World { wanted: wanted(), ..begun("o+ o+ n+", 2, true) });
    assert_eq!((course.servers.as_str(), course.partition), ("v1.36.4-k3s1", 2));
    assert_eq!(course.under_way.and_then(|change| change.reached).as_deref(), Some(NEW));
    let waits = decide(&unwell(World { wanted: wanted(), ..begun("o+ o+ n-", 2, true) }));
    assert_eq!((waits.servers.as_str(), waits.partition, waits.report.reason), (NEW, 2, "Waiting"));
    assert_eq!(waits.under_way.and_then(|change| change.reached).as_deref(), Some(NEW));
}

use super::*;
use proptest::prelude::*;

const SET: &str = "k3k-dev-server";
const DOMAIN: &str = "k3k-dev-service-headless.k3k-dev.svc";

fn address(ordinal: u32, generation: u8) -> IpAddr {
    IpAddr::from([10, 42, generation, u8::try_from(ordinal).unwrap() + 1])
}

fn by_name(ordinal: u32) -> String {
    format!("https://{SET}-{ordinal}.{DOMAIN}:2380")
}

/// A server whose pod is the `generation`th, with a volume of its own, and on which its member runs.
fn server(ordinal: u32, generation: u8) -> Server {
    Server {
        name: format!("{SET}-{ordinal}"),
        address: Some(address(ordinal, generation)),
        volume: Some(format!("volume-{ordinal}")),
        ready: true,
        answers: Some(Answer { id: id(ordinal), votes: true }),
    }
}

fn id(ordinal: u32) -> u64 {
    u64::from(ordinal) + 100
}

fn member(ordinal: u32, generation: u8) -> Member {
    Member {
        id: id(ordinal),
        name: format!("{SET}-{ordinal}-0123abcd"),
        urls: vec![peer_url(address(ordinal, generation)), by_name(ordinal)],
        learner: false,
    }
}

/// `count` servers that are well.
fn world(count: u32) -> World {
    World {
        desired: count,
        present: count,
        set: SET.to_owned(),
        domain: DOMAIN.to_owned(),
        servers: (0..count).map(|ordinal| server(ordinal, 0)).collect(),
        members: (0..count).map(|ordinal| member(ordinal, 0)).collect(),
        volumes: (0..count).map(|ordinal| (id(ordinal), format!("volume-{ordinal}"))).collect(),
    }
}

fn idle(replicas: u32) -> Decision {
    Decision { actions: Vec::new(), replicas, waits: None }
}

fn narrowed(ordinal: u32) -> Action {
    Action::Update { id: id(ordinal), urls: vec![peer_url(address(ordinal, 0))] }
}

fn narrow(world: &mut World) {
    for member in &mut world.members {
        member.urls.truncate(1);
    }
}

#[test]
fn nothing_is_done_while_all_is_well() {
    assert_eq!(decide(&world(3)), idle(3));
    assert_eq!(decide(&world(1)), idle(1));
}

#[test]
fn who_learns_is_given_no_address() {
    let mut world = world(3);
    world.members[2].learner = true;
    world.members[2].urls.truncate(1);
    assert_eq!(decide(&world).actions, []);
    world.members[2].learner = false;
    assert_eq!(decide(&world).actions, [Action::Update { id: id(2), urls: member(2, 0).urls }]);
}

#[test]
fn the_others_are_told_of_a_pods_new_address() {
    let mut world = world(3);
    world.servers[1] = server(1, 7);
    let urls = vec![peer_url(address(1, 7)), by_name(1)];
    assert_eq!(decide(&world).actions, [Action::Update { id: id(1), urls }]);
}

#[test]
fn a_pod_that_is_away_keeps_its_member_as_it_is() {
    let mut world = world(3);
    world.servers.remove(2);
    assert_eq!(decide(&world), idle(3), "nor do the others lose their names, by which they find one another");
}

#[test]
fn members_have_one_address_while_others_join() {
    let mut world = world(1);
    world.desired = 3;
    let decision = decide(&world);
    assert_eq!((decision.actions, decision.replicas), (vec![narrowed(0)], 1));
    narrow(&mut world);
    world.servers[0].ready = false;
    assert_eq!(decide(&world), idle(1), "there is nobody whom they could join");
    world.servers[0].ready = true;
    assert_eq!(decide(&world), idle(3));
    world.present = 3;
    assert_eq!(decide(&world), idle(3), "two pods have not come yet");
    world.servers.extend([1, 2].map(|ordinal| Server { answers: None, ..server(ordinal, 0) }));
    assert_eq!(decide(&world), idle(3), "and have not joined yet");
    world.members.extend([1, 2].map(|ordinal| member(ordinal, 0)));
    narrow(&mut world);
    for server in &mut world.servers[1..] {
        server.answers =
            Some(Answer { id: if server.name.ends_with('1') { id(1) } else { id(2) }, votes: true });
    }
    assert_eq!(decide(&world).actions.len(), 3, "all are in, and all get their names");
}

#[test]
fn a_server_goes_after_its_member() {
    let mut world = world(3);
    world.desired = 1;
    let decision = decide(&world);
    assert!(matches!(&decision.actions[..], [Action::Remove { id: 102, .. }]), "{decision:?}");
    assert_eq!(decision.replicas, 3);
    world.members.pop();
    assert_eq!(decide(&world), idle(2), "the rest know, and the pod goes");
}

#[test]
fn the_member_stays_while_the_rest_has_no_majority() {
    let mut world = world(3);
    world.desired = 1;
    world.servers[1].answers = None;
    let decision = decide(&world);
    assert_eq!((decision.actions.len(), decision.replicas), (0, 3));
    assert!(decision.waits.unwrap().contains("only 1 are well, and 2 are needed"));
}

#[test]
fn a_member_whose_volume_is_gone_leaves_and_joins_anew() {
    let mut world = world(3);
    world.servers[0] = Server { volume: Some("another".to_owned()), answers: None, ..server(0, 1) };
    let decision = decide(&world);
    assert_eq!(decision.actions, [narrowed(1), narrowed(2)], "first the others are made fit for a newcomer");
    narrow(&mut world);
    world.members[0] = member(0, 0);
    let decision = decide(&world);
    assert!(matches!(&decision.actions[..], [Action::Remove { id: 100, .. }]), "{decision:?}");
    world.servers[1].answers = None;
    assert!(decide(&world).waits.is_some(), "but not while another one is away");
}

#[test]
fn who_announced_themselves_and_left_is_forgotten() {
    let mut world = world(3);
    world.members.push(Member {
        id: 7,
        name: String::new(),
        urls: vec![peer_url(address(9, 9))],
        learner: true,
    });
    assert!(matches!(&decide(&world).actions[..], [Action::Remove { id: 7, .. }]));
    world.members[3].urls = vec![peer_url(address(2, 0))];
    assert!(!matches!(&decide(&world).actions[..], [Action::Remove { .. }]), "this one is about to start");
}

#[test]
fn a_member_of_a_server_that_was_taken_away_follows_it() {
    let mut world = world(3);
    world.members.push(Member { learner: true, ..member(3, 0) });
    assert!(matches!(&decide(&world).actions[..], [Action::Remove { id: 103, .. }]));
}

#[test]
fn pods_are_numbers() {
    assert_eq!(ordinal("s", "s-10"), Some(10));
    assert_eq!(ordinal("s", "s-x-0"), None);
    assert_eq!(ordinal("s", "other-0"), None);
}

fn any_world() -> impl Strategy<Value = World> {
    let of_one = (any::<bool>(), any::<bool>(), any::<bool>(), 0..3_u8, any::<bool>(), any::<bool>());
    (1..6_u32, 1..6_u32, proptest::collection::vec(of_one, 6)).prop_map(|(desired, present, all)| {
        let mut world = World { desired, present, ..world(0) };
        for (ordinal, (is_member, learns, is_there, generation, is_well, is_lost)) in (0..6_u32).zip(all) {
            if is_member {
                world.members.push(Member { learner: learns, ..member(ordinal, 0) });
                world.volumes.insert(id(ordinal), format!("volume-{ordinal}"));
            }
            if is_there && ordinal < present {
                let mut server = server(ordinal, generation);
                server.answers = server.answers.filter(|_| is_member && is_well && !is_lost);
                if is_lost {
                    server.volume = Some("another".to_owned());
                }
                world.servers.push(server);
            }
        }
        world
    })
}

proptest! {
    /// Whatever is found: what is removed was no vote, or a majority of the rest is well; one goes at a time; and no server goes whose
    /// member is still there.
    #[test]
    fn no_removal_costs_the_majority(world in any_world()) {
        let decision = decide(&world);
        let removed: Vec<u64> = decision.actions.iter().filter_map(|action| match action {
            Action::Remove { id, .. } => Some(*id),
            Action::Update { .. } => None,
        }).collect();
        prop_assert!(removed.len() <= 1);
        for id in &removed {
            let rest: Vec<&Member> = world.members.iter().filter(|member| member.id != *id && !member.learner).collect();
            prop_assert!(!rest.is_empty());
            let was_voter = world.members.iter().any(|member| member.id == *id && !member.learner);
            let well = rest.iter().filter(|member| {
                world.servers.iter().filter_map(|server| server.answers).any(|answer| answer.id == member.id)
            }).count();
            prop_assert!(!was_voter || well > rest.len() / 2);
        }
        prop_assert!(decision.replicas >= 1);
        prop_assert!(decision.replicas + 1 >= world.present, "one at a time");
        if decision.replicas < world.present {
            let gone = format!("{SET}-{}", decision.replicas);
            let left = world.members.iter().filter(|member| member.pod() == Some(&gone));
            prop_assert_eq!(left.count(), 0);
        }
    }

    /// A member keeps at least one address, and nobody gets the address of another's pod.
    #[test]
    fn addresses_are_ones_own(world in any_world()) {
        for action in decide(&world).actions {
            if let Action::Update { id, urls } = action {
                let member = world.members.iter().find(|member| member.id == id).unwrap();
                prop_assert!(!urls.is_empty());
                for server in &world.servers {
                    let theirs = server.address.map(peer_url).is_some_and(|url| urls.contains(&url));
                    prop_assert!(!theirs || member.pod() == Some(&server.name));
                }
            }
        }
    }
}

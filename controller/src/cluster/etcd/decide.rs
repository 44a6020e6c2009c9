//! What is done about the members of etcd. Pure.
//!
//! k3s knows a member by the address of its pod, and starts only when its member has that very address. So a member has two: the pod's,
//! and the name of the pod, by which the others find it when all pods were made anew and no majority is left that could be told of their
//! addresses. But what k3s tells a joining etcd of the members fits only members of one address: while one joins, the name is taken away.

use super::client::PEER_PORT;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A server pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Its name.
    pub(super) name: String,
    /// Its address.
    pub(super) address: Option<IpAddr>,
    /// UID of what holds its data: of the claim, or of the pod.
    pub(super) volume: Option<String>,
    /// Requests to the API may meet it: others can join.
    pub(super) ready: bool,
    /// The member that answers there, and whether it takes part in the decisions of a majority.
    pub(super) answers: Option<Answer>,
}

/// What a member said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its ID.
    pub(super) id: u64,
    /// It votes, and it knows a leader.
    pub(super) votes: bool,
}

/// A member, as a majority sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its ID.
    pub(super) id: u64,
    /// `<pod>-<8 digits>`; empty before it was started for the first time.
    pub(super) name: String,
    /// Where the others reach it.
    pub(super) urls: Vec<String>,
    /// It has no vote yet.
    pub(super) learner: bool,
}

impl Member {
    /// Name of the pod.
    pub(super) fn pod(&self) -> Option<&str> {
        self.name.rsplit_once('-').map(|(pod, _)| pod)
    }
}

/// All that matters.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// How many servers there shall be.
    pub(super) desired: u32,
    /// How many the StatefulSet has been told of.
    pub(super) present: u32,
    /// Name of the StatefulSet.
    pub(super) set: String,
    /// What follows the name of a pod in its DNS name.
    pub(super) domain: String,
    /// The pods.
    pub(super) servers: Vec<Server>,
    /// The members.
    pub(super) members: Vec<Member>,
    /// Which volume each member's data were on, by its ID.
    pub(super) volumes: BTreeMap<u64, String>,
}

/// A change to the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Removes one.
    Remove {
        /// Which one.
        id: u64,
        /// Why, for people.
        why: String,
    },
    /// Gives one other addresses.
    Update {
        /// Which one.
        id: u64,
        /// Where the others reach it.
        urls: Vec<String>,
    },
}

/// What is done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Changes to the members, in order.
    pub(super) actions: Vec<Action>,
    /// How many servers the StatefulSet shall have, when all of them went through.
    pub(super) replicas: u32,
    /// Why nothing more can be done now, if something should.
    pub(super) waits: Option<String>,
}

/// How many of `voters` are a majority.
pub(super) fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// Decides.
pub(super) fn decide(world: &World) -> Decision {
    let stay = |actions, waits| Decision { actions, replicas: world.present, waits };
    if world.desired < world.present {
        return shrink(world);
    }
    let strays: Vec<&Member> = world.members.iter().filter(|member| world.is_stray(member)).collect();
    if let Some(stray) = strays.first() {
        let why = "its server is gone for good".to_owned();
        return match world.removal(stray, why) {
            Ok(action) => stay(vec![action], None),
            Err(waits) => stay(Vec::new(), Some(waits)),
        };
    }
    let lost = world.members.iter().find(|member| world.is_lost(member));
    let joining = lost.is_some()
        || world.present < world.desired
        || (0..world.present).any(|ordinal| !world.is_member(ordinal))
        || world.members.iter().any(|member| member.name.is_empty());
    let updates: Vec<Action> =
        world.members.iter().filter_map(|member| world.readdressed(member, joining)).collect();
    if !updates.is_empty() {
        return stay(updates, None);
    }
    if let Some(lost) = lost {
        let why = "the volume with its data is gone".to_owned();
        return match world.removal(lost, why) {
            Ok(action) => stay(vec![action], None),
            Err(waits) => stay(Vec::new(), Some(waits)),
        };
    }
    // Who joined now would be told to come again, and the pauses grow.
    let replicas =
        if world.servers.iter().any(|server| server.ready) { world.desired } else { world.present };
    Decision { actions: Vec::new(), replicas, waits: None }
}

/// Takes the last server away: first its member, then its pod.
fn shrink(world: &World) -> Decision {
    let last = world.present.saturating_sub(1).max(world.desired);
    let name = format!("{}-{last}", world.set);
    let address = world.servers.iter().find(|server| server.name == name).and_then(|server| server.address);
    let its = |member: &&Member| {
        member.pod() == Some(&name)
            || member.name.is_empty()
                && address.is_some_and(|address| member.urls.contains(&peer_url(address)))
    };
    let Some(member) = world.members.iter().find(its) else {
        return Decision { actions: Vec::new(), replicas: last, waits: None };
    };
    match world.removal(member, format!("{} servers are wanted", world.desired)) {
        // The pod stays until the rest say by themselves, as a majority, that it is none of them: then all of them know.
        Ok(action) => Decision { actions: vec![action], replicas: world.present, waits: None },
        Err(waits) => Decision { actions: Vec::new(), replicas: world.present, waits: Some(waits) },
    }
}

impl World {
    fn server_of(&self, member: &Member) -> Option<&Server> {
        let pod = member.pod()?;
        self.servers.iter().find(|server| server.name == pod)
    }

    /// Whether the server has a member, be its pod there or not.
    fn is_member(&self, number: u32) -> bool {
        let its = |member: &Member| member.pod().and_then(|pod| ordinal(&self.set, pod)) == Some(number);
        self.members.iter().any(|member| its(member) && !self.is_lost(member))
    }

    /// Its server has another volume than the one that its data were on.
    fn is_lost(&self, member: &Member) -> bool {
        let now = self
            .server_of(member)
            .filter(|server| server.answers.is_none_or(|answer| answer.id != member.id));
        let now = now.and_then(|server| server.volume.as_ref());
        now.zip(self.volumes.get(&member.id)).is_some_and(|(now, then)| now != then)
    }

    /// No server that there is or will be is this member.
    fn is_stray(&self, member: &Member) -> bool {
        if member.name.is_empty() {
            // Somebody announced themselves and went away before they started.
            return member.learner
                && !self.servers.iter().any(|server| {
                    server.address.is_some_and(|address| member.urls.contains(&peer_url(address)))
                });
        }
        let ordinal = member.pod().and_then(|pod| ordinal(&self.set, pod));
        ordinal.is_some_and(|ordinal| ordinal >= self.present) && self.server_of(member).is_none()
    }

    /// The addresses that the member should have, if it has others.
    fn readdressed(&self, member: &Member, joining: bool) -> Option<Action> {
        // A learner is left alone: an etcd that starts again replays its log over a list that says already that the member votes. An
        // address given before the promotion then makes it refuse the promotion, and count the member as a learner for good.
        if member.learner || member.name.is_empty() || self.is_lost(member) {
            return None;
        }
        // What answers is this member: by its name alone, another's data would get its address.
        let here = self
            .server_of(member)
            .filter(|server| server.answers.is_some_and(|answer| answer.id == member.id));
        let address = here.and_then(|server| server.address).map(peer_url);
        let by_name = member.pod().map(|pod| format!("https://{pod}.{}:{PEER_PORT}", self.domain));
        let address =
            address.or_else(|| member.urls.iter().find(|url| Some(*url) != by_name.as_ref()).cloned());
        let mut urls: Vec<String> = address.into_iter().collect();
        if urls.is_empty() || !joining && here.is_some() {
            urls.extend(by_name);
        } else if !joining {
            return None; // It is not there. What was known of it stays.
        }
        urls.sort();
        let mut present = member.urls.clone();
        present.sort();
        (urls != present).then_some(Action::Update { id: member.id, urls })
    }

    /// Removes `member` if a majority of the rest is well, else says what is waited for.
    fn removal(&self, member: &Member, why: String) -> Result<Action, String> {
        let is_well = |other: &&Member| {
            let answers = self.servers.iter().filter_map(|server| server.answers);
            !other.learner && answers.into_iter().any(|answer| answer.id == other.id && answer.votes)
        };
        let rest = || self.members.iter().filter(|other| other.id != member.id);
        let voters = rest().filter(|other| !other.learner).count();
        let well = rest().filter(is_well).count();
        if voters == 0 {
            return Err(format!("member {:?} is the last one that votes and stays", member.name));
        }
        if !member.learner && well < quorum(voters) {
            return Err(format!(
                "member {:?} is to be removed ({why}), but of the other {voters} voting members only {well} are well, and {} are needed",
                member.name,
                quorum(voters)
            ));
        }
        Ok(Action::Remove { id: member.id, why })
    }
}

/// Where other members reach a server at `address`.
fn peer_url(address: IpAddr) -> String {
    format!("https://{}", SocketAddr::new(address, PEER_PORT))
}

/// The number of a pod of a StatefulSet.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<u32> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

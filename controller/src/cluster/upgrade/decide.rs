//! What servers and agents run now, and what comes next. Pure.

use crate::cluster::health::Report;
use k3k_api::conditions::upgraded_reason as reason;
use k3k_api::upgrade::check;
use k3k_api::v1beta1::UpgradeStatus;

/// A server or an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    /// Name of its pod.
    pub(super) name: String,
    /// Its number in the StatefulSet.
    pub(super) ordinal: u32,
    /// The version that it was made for.
    pub(super) version: Option<String>,
    /// It does its work.
    pub(super) ready: bool,
    /// How it is, for people.
    pub(super) state: String,
    /// What proves that it does not start, whatever the time that it is given.
    pub(super) failure: Option<String>,
}

/// What the servers' StatefulSet says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The version of new pods.
    pub(super) version: String,
    /// Servers below this number keep what they run.
    pub(super) partition: u32,
}

/// All that matters.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// The version that is asked for. None: what is asked for is no version.
    pub(super) wanted: Option<String>,
    /// The version that the status says.
    pub(super) running: Option<String>,
    /// The change that the status says.
    pub(super) under_way: Option<UpgradeStatus>,
    /// What the StatefulSet has been told.
    pub(super) set: Option<Told>,
    /// How many servers there shall be.
    pub(super) replicas: u32,
    /// The server pods.
    pub(super) servers: Vec<Member>,
    /// The agent pods.
    pub(super) agents: Vec<Member>,
    /// Why no server may be taken away, where several keep the data together.
    pub(super) unwell: Option<String>,
}

/// What servers and agents shall run now.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Version of new server pods.
    pub servers: String,
    /// Servers below this number keep what they run.
    pub partition: u32,
    /// Version of the agents, and what the virtual kubelet says of itself: they follow the servers.
    pub agents: String,
    /// For the status: the version that runs.
    pub running: Option<String>,
    /// For the status: the change of it.
    pub under_way: Option<UpgradeStatus>,
    /// For the condition.
    pub report: Report,
}

impl Course {
    /// All run `version`.
    pub fn straight(version: &str) -> Self {
        Self {
            servers: version.to_owned(),
            partition: 0,
            agents: version.to_owned(),
            running: Some(version.to_owned()),
            under_way: None,
            report: Report::well(reason::UP_TO_DATE, format!("all servers run {version}")),
        }
    }
}

/// Decides.
pub(super) fn decide(world: &World) -> Course {
    let Some(running) = world.running.as_deref() else { return first(world) };
    let under_way = world.under_way.as_ref();
    let reached = under_way.and_then(|change| change.reached.as_deref());
    // What was begun goes on, whatever is asked for.
    let begun = under_way.filter(|change| change.failure.is_none()).map_or(running, |change| &change.to);
    let Some(wanted) = world.wanted.as_deref() else { return world.towards(running, begun) };
    let refusal = [Some(running), reached].into_iter().flatten().find_map(|from| check(from, wanted).err());
    if let Some(why) = refusal {
        let why = format!("{why}. Nothing was changed");
        return Course { report: Report::missing(reason::REFUSED, why), ..world.towards(running, begun) };
    }
    match under_way {
        Some(UpgradeStatus { to, failure: Some(failure), .. }) if to == wanted => {
            taken_back(running, wanted, failure.clone())
        }
        _ => world.towards(running, wanted),
    }
}

/// Nothing has run yet: a version that was mistyped can become any other.
fn first(world: &World) -> Course {
    let present = world.set.as_ref().map(|set| set.version.as_str());
    let version = world.wanted.as_deref().or(present).unwrap_or_default();
    let ran = world.servers.iter().find(|server| server.ready).and_then(|server| server.version.clone());
    Course { running: ran, ..Course::straight(version) }
}

/// The first server did not start with `wanted`.
fn taken_back(running: &str, wanted: &str, failure: String) -> Course {
    let message = format!(
        "the cluster runs {running} again: the first server that was given {wanted} did not start ({failure}). It is not tried \
         again until spec.version changes: set it to {running} or to another version"
    );
    Course {
        under_way: Some(UpgradeStatus { to: wanted.to_owned(), reached: None, failure: Some(failure) }),
        report: Report::missing(reason::ROLLED_BACK, message),
        ..Course::straight(running)
    }
}

impl World {
    /// Brings servers that run, or began with, `running` a step closer to `goal`.
    fn towards(&self, running: &str, goal: &str) -> Course {
        let change = self.under_way.as_ref().filter(|change| change.failure.is_none());
        let mut reached = change.and_then(|change| change.reached.clone());
        if goal == running && reached.is_none() {
            return self.settled(running);
        }
        // Either may be known later than the other.
        let told = self.set.as_ref().filter(|set| set.version == goal);
        let begun = told.is_some() || change.is_some_and(|change| change.to == goal);
        let last = self.replicas.saturating_sub(1);
        let partition = told.map_or(last, |told| told.partition.min(last));
        let going = |partition, reached, report| Course {
            servers: goal.to_owned(),
            partition,
            agents: running.to_owned(),
            running: Some(running.to_owned()),
            under_way: Some(UpgradeStatus { to: goal.to_owned(), reached, failure: None }),
            report,
        };
        if !begun {
            return match (&self.unwell, &self.set) {
                (Some(why), Some(set)) => {
                    let message = format!("no server is given {goal} before all of them are well: {why}");
                    Course {
                        servers: set.version.clone(),
                        partition: set.partition,
                        under_way: change.cloned(),
                        report: Report::missing(reason::WAITING, message),
                        ..going(0, None, Report::well("", ""))
                    }
                }
                _ => going(last, reached, self.progress(goal, "the first is replaced")),
            };
        }
        let with_goal = || self.servers.iter().filter(|server| server.version.as_deref() == Some(goal));
        if with_goal().any(|server| server.ready) {
            reached = Some(goal.to_owned());
        }
        if let Some(broken) = with_goal().find(|server| !server.ready && server.failure.is_some()) {
            let failure = broken.failure.clone().unwrap_or_default();
            if reached.is_none() {
                return taken_back(running, goal, failure);
            }
            let message = format!(
                "{} run {goal}, and {} does not start: {failure}. It goes on when that is mended; servers that ran {goal} cannot \
                 go back",
                self.count(goal),
                broken.name
            );
            return going(partition, reached, Report::missing(reason::STALLED, message));
        }
        let of = |ordinal: u32| self.servers.iter().find(|server| server.ordinal == ordinal);
        let behind = (partition..self.replicas).rev().find(|ordinal| {
            of(*ordinal).is_none_or(|server| !server.ready || server.version.as_deref() != Some(goal))
        });
        let down = (0..self.replicas).find(|ordinal| of(*ordinal).is_none_or(|server| !server.ready));
        let waits_for = match (behind.or(down).map(of), &self.unwell) {
            (Some(Some(server)), _) if server.version.as_deref() == Some(goal) || !server.ready => {
                Some(server.state.clone())
            }
            (Some(Some(server)), _) => Some(format!("{} is replaced next", server.name)),
            (Some(None), _) => Some("a server's pod is being made".to_owned()),
            (None, Some(why)) => Some(why.clone()),
            (None, None) => None,
        };
        match waits_for {
            Some(what) => going(partition, reached, self.progress(goal, &what)),
            None if partition > 0 => {
                going(partition - 1, reached, self.progress(goal, "the next is replaced"))
            }
            None => self.settled(goal),
        }
    }

    /// All servers run `version`. Agents may be on their way.
    fn settled(&self, version: &str) -> Course {
        let behind = self.agents.iter().filter(|agent| agent.version.as_deref() != Some(version)).count();
        let course = Course::straight(version);
        if behind == 0 {
            return course;
        }
        let done = self.agents.len() - behind;
        let message = format!(
            "all servers run {version}, and {done} of {} agents; the others are replaced one after the other",
            self.agents.len()
        );
        Course { report: Report::missing(reason::UPGRADING, message), ..course }
    }

    fn count(&self, version: &str) -> String {
        let done =
            self.servers.iter().filter(|server| server.ready && server.version.as_deref() == Some(version));
        format!("{} of {} servers", done.count(), self.replicas)
    }

    fn progress(&self, goal: &str, what: &str) -> Report {
        let verb = if self.replicas == 1 { "runs" } else { "run" };
        Report::missing(reason::UPGRADING, format!("{} {verb} {goal}; waiting: {what}", self.count(goal)))
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

//! Rates in, counters out. Pure.
//!
//! A counter grows by the latest rate times the time since the sample before, so whoever takes the difference of two answers gets the
//! rate that the host measured, also if samples were missed or their windows overlap. It begins with the first sample, as what was used
//! within its window, and begins anew with a container's new start – as with a kubelet, whose counters are the container's.
//!
//! Each replica of the virtual kubelet counts for itself, from when it is asked. A counter that nobody asked for in a while begins anew,
//! so whoever comes back to it from another replica finds a smaller number, which all take for a restart, and not a leap.

use k8s_openapi::jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// How long a counter goes on that nobody asks for.
const FORGET: Duration = Duration::from_secs(300);

/// What the host measured of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The host pod's name.
    pub host_name: String,
    /// When it was measured.
    pub time: Timestamp,
    /// The time before that over which the rates are averages.
    pub window: Duration,
    /// By the containers' names.
    pub containers: Vec<(String, Rate)>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Billionths of a processor.
    pub nano_cores: u64,
    /// Bytes that cannot be taken away from it.
    pub bytes: u64,
}

/// A pod of ours that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The host pod's name.
    pub host_name: String,
    /// Namespace in the nested cluster.
    pub namespace: String,
    /// Name there.
    pub name: String,
    /// UID there.
    pub uid: String,
    /// When the host's kubelet took it.
    pub started: Option<Timestamp>,
    /// Its running containers and since when they run.
    pub containers: Vec<(String, Timestamp)>,
}

/// What something uses and has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// When that was so.
    pub time: Timestamp,
    /// Billionths of a processor.
    pub nano_cores: u64,
    /// Billionths of a processor for a second each, since counting began.
    pub core_nanoseconds: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A pod's part of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsed {
    /// Namespace in the nested cluster.
    pub namespace: String,
    /// Name there.
    pub name: String,
    /// UID there.
    pub uid: String,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// All of its containers together.
    pub total: Used,
    /// Each container with its start.
    pub containers: Vec<(String, Timestamp, Used)>,
}

/// All that is known at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All pods together; None if nothing is known of any of those that run.
    pub node: Option<Used>,
    /// The pods that the host knows something of.
    pub pods: Vec<PodUsed>,
}

/// A counter.
#[derive(Clone, Copy, Debug)]
struct Meter {
    time: Timestamp,
    core_nanoseconds: u64,
}

impl Meter {
    /// Takes note of a rate at `time`, which is the first or follows the one before; an older one changes nothing.
    fn advance(meter: Option<Self>, time: Timestamp, window: Duration, rate: Rate) -> Self {
        // Whatever runs has used some time, if less than can be seen; and a counter that says 0 is taken for one that is not known.
        let begin = Self { time, core_nanoseconds: amount(rate.nano_cores, window).max(1) };
        let Some(before) = meter else { return begin };
        let Ok(passed) = Duration::try_from(time.duration_since(before.time)) else { return before };
        if passed.is_zero() {
            return before;
        }
        if passed > FORGET {
            return begin;
        }
        let used = amount(rate.nano_cores, passed);
        Self { time, core_nanoseconds: before.core_nanoseconds.saturating_add(used) }
    }

    fn used(self, rate: Rate) -> Used {
        Used {
            time: self.time,
            nano_cores: rate.nano_cores,
            core_nanoseconds: self.core_nanoseconds,
            bytes: rate.bytes,
        }
    }
}

/// What a rate is over a time.
fn amount(nano_cores: u64, time: Duration) -> u64 {
    let exact = u128::from(nano_cores).saturating_mul(time.as_nanos()) / 1_000_000_000;
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// The counters.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By the nested pod's UID.
    pods: HashMap<String, PodMeters>,
    node: Option<Meter>,
}

#[derive(Debug)]
struct PodMeters {
    total: Meter,
    /// With the start of the container that is counted.
    containers: HashMap<String, (Timestamp, Meter)>,
}

impl Ledger {
    /// Takes note of `samples` and reports on the pods that run. `now` is when a node without pods uses nothing.
    pub fn report(&mut self, running: &[Running], samples: &[Sample], now: Timestamp) -> Report {
        let samples: HashMap<&str, &Sample> =
            samples.iter().map(|sample| (sample.host_name.as_str(), sample)).collect();
        let mut before = std::mem::take(&mut self.pods);
        let mut pods = Vec::with_capacity(running.len());
        let (mut sum, mut latest) = (Rate::default(), None);
        for pod in running {
            let old = before.remove(&pod.uid);
            let sample = samples.get(pod.host_name.as_str());
            let Some((meters, used)) = sample.and_then(|sample| of_pod(pod, sample, old.as_ref())) else {
                // Its next sample goes on where the last one ended.
                self.pods.extend(old.map(|old| (pod.uid.clone(), old)));
                continue;
            };
            sum = add(sum, Rate { nano_cores: used.total.nano_cores, bytes: used.total.bytes });
            let seen = sample.map(|sample| (sample.time, sample.window));
            latest = latest.max(seen);
            self.pods.insert(pod.uid.clone(), meters);
            pods.push(used);
        }
        let seen = latest.or(running.is_empty().then_some((now, Duration::ZERO)));
        let node = seen.map(|(time, window)| {
            let meter = Meter::advance(self.node, time, window, sum);
            self.node = Some(meter);
            meter.used(sum)
        });
        Report { node, pods }
    }
}

/// What a sample says of a pod; None if all of it is of containers that have ended since.
fn of_pod(pod: &Running, sample: &Sample, old: Option<&PodMeters>) -> Option<(PodMeters, PodUsed)> {
    let mut meters = HashMap::new();
    let mut containers = Vec::new();
    let mut sum = Rate::default();
    for (name, rate) in &sample.containers {
        let Some((_, started)) = pod.containers.iter().find(|(running, _)| running == name) else { continue };
        if sample.time < *started {
            continue;
        }
        let known = old.and_then(|old| old.containers.get(name));
        let known = known.filter(|(counted, _)| counted == started).map(|(_, meter)| *meter);
        let meter = Meter::advance(known, sample.time, sample.window, *rate);
        meters.insert(name.clone(), (*started, meter));
        containers.push((name.clone(), *started, meter.used(*rate)));
        sum = add(sum, *rate);
    }
    if containers.is_empty() {
        return None;
    }
    let total = Meter::advance(old.map(|old| old.total), sample.time, sample.window, sum);
    let used = PodUsed {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        started: pod.started,
        total: total.used(sum),
        containers,
    };
    Some((PodMeters { total, containers: meters }, used))
}

fn add(a: Rate, b: Rate) -> Rate {
    Rate { nano_cores: a.nano_cores.saturating_add(b.nano_cores), bytes: a.bytes.saturating_add(b.bytes) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report on one pod.
    pub(in crate::usage) fn report() -> Report {
        Ledger::default().report(&[pod(90)], &[sample(100, 500_000_000)], at(101))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(started: i64) -> Running {
        Running {
            host_name: "web-shop-dev".into(),
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
            started: Some(at(0)),
            containers: vec![("c".into(), at(started))],
        }
    }

    /// Half a processor is 500_000_000.
    fn sample(second: i64, nano_cores: u64) -> Sample {
        let rate = Rate { nano_cores, bytes: 4096 };
        let window = Duration::from_secs(15);
        Sample {
            host_name: "web-shop-dev".into(),
            time: at(second),
            window,
            containers: vec![("c".into(), rate)],
        }
    }

    /// The container's counter after a report, in seconds, and its time.
    fn seconds(ledger: &mut Ledger, pod: &Running, sample: Sample) -> (f64, i64) {
        let report = ledger.report(std::slice::from_ref(pod), &[sample], at(9999));
        let used = report.pods[0].containers[0].2;
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        (used.core_nanoseconds as f64 / 1e9, used.time.as_second())
    }

    #[test]
    fn the_difference_of_two_answers_is_the_rate() {
        let (mut ledger, pod) = (Ledger::default(), pod(0));
        assert_eq!(seconds(&mut ledger, &pod, sample(100, 500_000_000)), (7.5, 100));
        assert_eq!(seconds(&mut ledger, &pod, sample(100, 500_000_000)), (7.5, 100), "the same once more");
        assert_eq!(seconds(&mut ledger, &pod, sample(115, 1_000_000_000)), (22.5, 115));
        assert_eq!(seconds(&mut ledger, &pod, sample(160, 2_000_000_000)), (112.5, 160), "two were missed");
        assert_eq!(seconds(&mut ledger, &pod, sample(165, 2_000_000_000)), (122.5, 165), "windows overlap");
        assert_eq!(seconds(&mut ledger, &pod, sample(150, 0)), (122.5, 165), "an older one");
        assert_eq!(seconds(&mut ledger, &pod, sample(180, 0)), (122.5, 180), "idle");
    }

    #[test]
    fn a_counter_that_was_left_alone_begins_anew() {
        let (mut ledger, pod) = (Ledger::default(), pod(0));
        seconds(&mut ledger, &pod, sample(100, 500_000_000));
        assert_eq!(seconds(&mut ledger, &pod, sample(400, 500_000_000)), (157.5, 400));
        assert_eq!(seconds(&mut ledger, &pod, sample(701, 500_000_000)), (7.5, 701));
    }

    #[test]
    fn what_never_used_anything_visible_is_not_missing() {
        let (mut ledger, pod) = (Ledger::default(), pod(0));
        let report = ledger.report(&[pod], &[sample(100, 0)], at(100));
        assert_eq!(report.pods[0].containers[0].2.core_nanoseconds, 1);
        assert_eq!(report.pods[0].total.nano_cores, 0);
    }

    #[test]
    fn a_restarted_container_is_counted_anew_and_its_pod_is_not() {
        let mut ledger = Ledger::default();
        seconds(&mut ledger, &pod(0), sample(100, 500_000_000));
        let late = ledger.report(&[pod(110)], &[sample(105, 500_000_000)], at(112));
        assert_eq!((late.pods.len(), late.node), (0, None), "a sample of the run before");
        let report = ledger.report(&[pod(110)], &[sample(125, 1_000_000_000)], at(126));
        assert_eq!(report.pods[0].containers[0].2.core_nanoseconds, 15_000_000_000);
        assert_eq!(report.pods[0].total.core_nanoseconds, 32_500_000_000);
    }

    #[test]
    fn the_node_is_its_pods_and_never_counts_down() {
        let mut ledger = Ledger::default();
        let other = Running { host_name: "b".into(), uid: "v".into(), ..pod(0) };
        let of_other = Sample { host_name: "b".into(), ..sample(102, 250_000_000) };
        let report = ledger.report(&[pod(0), other], &[sample(100, 500_000_000), of_other], at(103));
        let node = report.node.unwrap();
        assert_eq!((node.nano_cores, node.bytes, node.time), (750_000_000, 8192, at(102)));
        assert_eq!(node.core_nanoseconds, 11_250_000_000);
        let report = ledger.report(&[pod(0)], &[sample(112, 500_000_000)], at(113));
        assert_eq!(report.node.unwrap().core_nanoseconds, 16_250_000_000);
        let report = ledger.report(&[], &[], at(122));
        let node = report.node.unwrap();
        assert_eq!((node.nano_cores, node.core_nanoseconds, node.bytes), (0, 16_250_000_000, 0));
        assert!(ledger.pods.is_empty(), "those that went are forgotten");
    }

    #[test]
    fn nothing_is_invented() {
        let mut ledger = Ledger::default();
        let report = ledger.report(&[pod(0)], &[], at(100));
        assert_eq!(report, Report { node: None, pods: Vec::new() });
        let stranger = Sample { host_name: "another".into(), ..sample(100, 1) };
        assert_eq!(ledger.report(&[pod(0)], &[stranger], at(100)).pods, []);
    }
}

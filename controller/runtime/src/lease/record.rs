//! What a Lease says and what to write into it. Pure.

use super::LeaseParams;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use std::time::Duration;
use tokio::time::Instant;

/// Whose the Lease is, as far as we may tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Ours, or free to be taken.
    Ours,
    /// Another's, who may still be alive.
    Other(String),
}

/// When we last saw the Lease change, by our own clock.
#[derive(Debug, Default)]
pub(super) struct Observation {
    last: Option<(LeaseSpec, Instant)>,
}

impl Observation {
    /// Takes note of `lease` and says whether `identity` may take it at `now`.
    pub(super) fn judge(&mut self, lease: &Lease, identity: &str, now: Instant) -> Standing {
        let spec = lease.spec.clone().unwrap_or_default();
        let since = match &self.last {
            Some((seen, since)) if *seen == spec => *since,
            _ => now,
        };
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        self.last = Some((spec, since));
        let alive = now < since + Duration::from_secs(seconds);
        if holder.is_empty() || holder == identity || !alive {
            Standing::Ours
        } else {
            Standing::Other(holder)
        }
    }
}

/// `current` (or a new Lease) as held by us. The acquisition time stays while the holder does.
pub(super) fn claim(current: Option<&Lease>, params: &LeaseParams, now: Timestamp) -> Lease {
    let mut lease = current.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(params.name.clone()),
            namespace: Some(params.namespace.clone()),
            owner_references: params.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    // The server writes this list; sent back, it would only be ballast.
    lease.metadata.managed_fields = None;
    let fresh = lease.spec.is_none();
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_ref() != Some(&params.identity) {
        spec.acquire_time = Some(MicroTime(now));
        let transitions = spec.lease_transitions.unwrap_or_default();
        spec.lease_transitions = Some(if fresh { 0 } else { transitions.saturating_add(1) });
    }
    spec.holder_identity = Some(params.identity.clone());
    spec.lease_duration_seconds = Some(i32::try_from(params.duration.as_secs()).unwrap_or(i32::MAX).max(1));
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// `mine` as free for anyone at once.
pub(super) fn vacated(mine: &Lease, now: Timestamp) -> Lease {
    let mut lease = mine.clone();
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(MicroTime(now));
    spec.renew_time = Some(MicroTime(now));
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(identity: &str) -> LeaseParams {
        LeaseParams {
            namespace: "k3k-system".into(),
            name: "k3k-controller".into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            owner: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_silent_holder_is_replaced_after_the_duration_by_our_clock() {
        // The writer's clock is an hour ahead; only change counts.
        let lease = claim(None, &params("a"), at(3600));
        let (mut observation, start) = (Observation::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(observation.judge(&lease, "b", start), Standing::Other("a".into()));
        assert_eq!(observation.judge(&lease, "b", start + 14 * second), Standing::Other("a".into()));
        let renewed = claim(Some(&lease), &params("a"), at(3614));
        assert_eq!(observation.judge(&renewed, "b", start + 14 * second), Standing::Other("a".into()));
        assert_eq!(observation.judge(&renewed, "b", start + 28 * second), Standing::Other("a".into()));
        assert_eq!(observation.judge(&renewed, "b", start + 29 * second), Standing::Ours);
    }

    #[test]
    fn a_free_lease_and_our_own_are_taken_at_once() {
        let lease = claim(None, &params("a"), at(1));
        assert_eq!(Observation::default().judge(&lease, "a", Instant::now()), Standing::Ours);
        let free = vacated(&lease, at(2));
        assert_eq!(Observation::default().judge(&free, "b", Instant::now()), Standing::Ours);
        assert_eq!(Observation::default().judge(&Lease::default(), "b", Instant::now()), Standing::Ours);
    }

    #[test]
    fn transitions_count_holders_and_the_acquisition_time_stays_with_one() {
        let first = claim(None, &params("a"), at(1)).spec.unwrap();
        assert_eq!((first.lease_transitions, first.acquire_time), (Some(0), Some(MicroTime(at(1)))));
        let mut lease = claim(None, &params("a"), at(1));
        lease.metadata.resource_version = Some("7".into());
        lease.metadata.labels = Some([("kept".to_owned(), "yes".to_owned())].into());
        let renewed = claim(Some(&lease), &params("a"), at(3));
        assert_eq!(renewed.metadata, lease.metadata);
        let renewed = renewed.spec.unwrap();
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(0), Some(MicroTime(at(1)))));
        assert_eq!(renewed.renew_time, Some(MicroTime(at(3))));
        let taken = claim(Some(&lease), &params("b"), at(20)).spec.unwrap();
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(1), Some(MicroTime(at(20)))));
    }
}

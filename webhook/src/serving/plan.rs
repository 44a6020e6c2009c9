//! What the Secret should hold next. The only effect is that new keys are random.

use super::stored::Stored;
use super::{Names, trust};
use jiff::{SignedDuration, Timestamp};
use k3k_runtime::certificates::{Authority, Error, Facts, Leaf, Pair, Usage, inspect, needs_renewal};
use k3k_runtime::tls::ServerCertificate;
use std::time::Duration;

/// How long a serving certificate is valid. It is renewed when a third of that is left.
const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long a new authority is believed before it signs, and an old one after it last signed: much longer than an
/// API server needs to learn of a registration, or a replica of the Secret.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);
/// Subject of our authorities.
const AUTHORITY: &str = "k3k-webhook-ca";

/// The contents to write; nothing when `stored` is good for `names` and not due. One step at a time: after writing,
/// ask again.
pub fn plan(stored: &Stored, names: &Names, now: Timestamp) -> Result<Option<Stored>, Error> {
    let mut wanted = stored.clone();
    if !wanted.authority.as_ref().is_some_and(|pair| can_sign(pair, now)) {
        // Nothing that an unusable authority signed can be believed, so there is nothing to overlap with.
        wanted = Stored { authority: Some(Authority::generate(AUTHORITY)?.pair()), ..Stored::default() };
    }
    roll_over(&mut wanted, now)?;
    if !wanted.leaf.as_ref().is_some_and(|leaf| leaf_is_good(leaf, &wanted, names, now)) {
        wanted.leaf = match &wanted.authority {
            Some(Pair { certificate, key }) => {
                Some(Authority::from_pem(certificate, key)?.issue(&leaf(names))?)
            }
            None => None,
        };
    } else if wanted.previous.is_some() && age(wanted.leaf.as_ref(), now) > Some(OVERLAP) {
        wanted.previous = None;
    }
    Ok((wanted != *stored).then_some(wanted))
}

/// Replaces an authority that is about to expire: first the next one is made known, then it signs.
fn roll_over(wanted: &mut Stored, now: Timestamp) -> Result<(), Error> {
    let Some(Facts { not_before, not_after, .. }) = facts(wanted.authority.as_ref()) else { return Ok(()) };
    let due = not_after.duration_since(now) < not_after.duration_since(not_before) / 3;
    match &wanted.next {
        None if !due => {}
        Some(next) if can_sign(next, now) => {
            if age(Some(next), now) > Some(OVERLAP) {
                wanted.previous = wanted.authority.take().map(|pair| pair.certificate);
                wanted.authority = wanted.next.take();
                wanted.leaf = None;
            }
        }
        _ => wanted.next = Some(Authority::generate(AUTHORITY)?.pair()),
    }
    Ok(())
}

fn leaf(names: &Names) -> Leaf {
    Leaf {
        common_name: names.primary().to_owned(),
        organizations: Vec::new(),
        dns_names: names.dns.clone(),
        ip_addresses: names.addresses.clone(),
        usages: vec![Usage::Server],
        lifetime: LEAF_LIFETIME,
    }
}

fn leaf_is_good(leaf: &Pair, stored: &Stored, names: &Names, now: Timestamp) -> bool {
    let Some(authority) = &stored.authority else { return false };
    let fresh = facts(Some(leaf)).is_some_and(|facts| !needs_renewal(&facts, now));
    let believed =
        |name: String| trust::verify(&authority.certificate, &leaf.certificate, &name, now).is_ok();
    fresh && names.all().all(believed) && ServerCertificate::from_pem(&leaf.certificate, &leaf.key).is_ok()
}

fn can_sign(pair: &Pair, now: Timestamp) -> bool {
    Authority::from_pem(&pair.certificate, &pair.key).is_ok()
        && facts(Some(pair)).is_some_and(|facts| facts.not_before <= now && now < facts.not_after)
}

fn age(pair: Option<&Pair>, now: Timestamp) -> Option<SignedDuration> {
    facts(pair).map(|facts| now.duration_since(facts.not_before))
}

fn facts(pair: Option<&Pair>) -> Option<Facts> {
    inspect(&pair?.certificate).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("k3k-webhook", "k3k-system", &["127.0.0.1".to_owned()])
    }
    fn after(days: i64) -> Timestamp {
        Timestamp::now() + SignedDuration::from_hours(24 * days)
    }
    fn first() -> Stored {
        plan(&Stored::default(), &names(), after(0)).unwrap().unwrap()
    }
    fn certificate(pair: Option<&Pair>) -> String {
        pair.unwrap().certificate.clone()
    }

    #[test]
    fn an_empty_secret_gets_all_it_needs_and_then_rests() {
        let stored = first();
        let chain = certificate(stored.leaf.as_ref());
        for name in ["k3k-webhook", "k3k-webhook.k3k-system", "k3k-webhook.k3k-system.svc", "127.0.0.1"] {
            trust::verify(&stored.bundle(), &chain, name, after(0)).unwrap();
        }
        assert!(trust::verify(&stored.bundle(), &chain, "example.com", after(0)).is_err());
        assert_eq!(plan(&stored, &names(), after(0)).unwrap(), None);
        assert_eq!(plan(&stored, &names(), after(59)).unwrap(), None);
    }

    #[test]
    fn a_leaf_is_renewed_in_time_by_the_same_authority() {
        let stored = first();
        let renewed = plan(&stored, &names(), after(61)).unwrap().unwrap();
        assert_eq!(renewed.authority, stored.authority);
        assert_ne!(renewed.leaf, stored.leaf);
        assert_eq!(renewed.bundle(), stored.bundle());
    }

    #[test]
    fn new_names_need_a_new_leaf() {
        let other = Names::new("k3k-webhook", "elsewhere", &[]);
        let renewed = plan(&first(), &other, after(0)).unwrap().unwrap();
        trust::verify(&renewed.bundle(), &certificate(renewed.leaf.as_ref()), other.primary(), after(0))
            .unwrap();
    }

    #[test]
    fn a_key_that_does_not_fit_is_replaced() {
        let (mut mine, theirs) = (first(), first());
        mine.leaf.as_mut().unwrap().key = theirs.leaf.as_ref().unwrap().key.clone();
        let renewed = plan(&mine, &names(), after(0)).unwrap().unwrap();
        assert_eq!(renewed.authority, mine.authority);
        mine.authority.as_mut().unwrap().key = theirs.authority.unwrap().key;
        let renewed = plan(&mine, &names(), after(0)).unwrap().unwrap();
        assert_ne!(renewed.authority, mine.authority, "an authority without its key cannot sign");
        assert_eq!(renewed.previous, None);
    }

    #[test]
    fn what_is_broken_is_made_anew() {
        let broken = Pair { certificate: "not a certificate".to_owned(), key: "not a key".to_owned() };
        let stored = Stored {
            authority: Some(broken.clone()),
            next: Some(broken.clone()),
            previous: Some("nothing".to_owned()),
            leaf: Some(broken),
        };
        let renewed = plan(&stored, &names(), after(0)).unwrap().unwrap();
        assert_eq!(plan(&renewed, &names(), after(0)).unwrap(), None);
    }

    #[test]
    fn an_authority_is_replaced_with_overlap() {
        let stored = first();
        // The clock of the test jumps, but new certificates are made today.
        let late = after(7 * 365);
        let announced = plan(&stored, &names(), late).unwrap().unwrap();
        assert_eq!(
            announced.authority, stored.authority,
            "the old one signs while the new one becomes known"
        );
        let old = certificate(stored.authority.as_ref());
        let new = certificate(announced.next.as_ref());
        assert!(announced.bundle().contains(old.trim()) && announced.bundle().contains(new.trim()));

        // Made today and due tomorrow at the earliest.
        let mut early = announced.clone();
        roll_over(&mut early, after(0)).unwrap();
        assert_eq!(early, announced);

        let promoted = plan(&announced, &names(), late).unwrap().unwrap();
        assert_eq!(certificate(promoted.authority.as_ref()), new);
        assert_eq!(promoted.previous.as_deref(), Some(old.as_str()));
        let chain = certificate(promoted.leaf.as_ref());
        trust::verify(&promoted.bundle(), &chain, names().primary(), after(0)).unwrap();
        trust::verify(&new, &chain, names().primary(), after(0)).unwrap();
        trust::verify(&promoted.bundle(), &certificate(stored.leaf.as_ref()), names().primary(), after(0))
            .unwrap();

        assert_eq!(plan(&promoted, &names(), after(0)).unwrap(), None, "the old one is still believed");
        let settled = plan(&promoted, &names(), after(2)).unwrap().unwrap();
        assert_eq!(settled, Stored { previous: None, ..promoted });
    }
}

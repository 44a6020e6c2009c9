//! What a tenant may use together, dealt out to its namespaces. Pure.
//!
//! A ResourceQuota holds for one namespace, and holds without us. So a budget is split into quotas whose sum never exceeds it.
//! Shares move as use does: who has more room than needed is given less, and only when the host has confirmed that is somebody
//! else given more. What is enforced at a moment is a quota's status, which may still become what its spec says; so both count.

use k3k_api::quantity::Quantity as Amount;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// One namespace's part in a resource, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// What is in use.
    pub used: i128,
    /// What the quota's spec says; zero if there is none.
    pub asked: i128,
    /// What its status says, which is enforced.
    pub in_force: i128,
}

impl Holding {
    /// What it may be using, or come to use, before anybody hears of it.
    fn committed(self) -> i128 {
        self.used.max(self.asked).max(self.in_force)
    }
}

/// What each namespace's quota shall say next. Never less than what is used, and never more than what is left of `budget`
/// beside what the others may be using by now. When nothing else changes, it comes to even room for all.
pub fn split(budget: i128, step: i128, holdings: &[Holding]) -> Vec<i128> {
    let targets = targets(budget, step.max(1), holdings);
    let committed: i128 = holdings.iter().map(|holding| holding.committed()).sum();
    let mut free = (budget - committed).max(0);
    holdings
        .iter()
        .zip(targets)
        .map(|(holding, target)| {
            let committed = holding.committed();
            let more = (target - committed).clamp(0, free);
            free -= more;
            // What was asked for and is not in force yet may come into force at any moment: it can be taken back only by asking
            // for less, and counts until that is confirmed.
            (committed + more).min(target).max(holding.used)
        })
        .collect()
}

/// Where the shares shall end up.
fn targets(budget: i128, step: i128, holdings: &[Holding]) -> Vec<i128> {
    let used: i128 = holdings.iter().map(|holding| holding.used).sum();
    let count = i128::try_from(holdings.len().max(1)).unwrap_or(i128::MAX);
    let room = (budget - used).max(0);
    let (steps, share) = (room / step, room / step / count * step);
    // Quotas do not follow every pod: shares stay while all of the budget is dealt out and everybody has half of an even room.
    let asked: i128 = holdings.iter().map(|holding| holding.asked).sum();
    let has_room =
        |holding: &Holding| (holding.asked - holding.used) * 2 >= share && holding.asked >= holding.used;
    if asked <= budget && asked + step > budget && holdings.iter().all(has_room) {
        return holdings.iter().map(|holding| holding.asked).collect();
    }
    // What cannot be shared evenly goes to the first, step by step.
    let mut odd = steps % count;
    let even = |holding: &Holding| {
        let extra = if odd > 0 { step } else { 0 };
        odd -= 1;
        holding.used + share + extra
    };
    holdings.iter().map(even).collect()
}

/// A tenant's budget: of each resource the least that one of its policies says.
pub fn least<'a>(budgets: impl IntoIterator<Item = &'a Amounts>) -> Amounts {
    let mut least: BTreeMap<&str, (Amount, &Quantity)> = BTreeMap::new();
    for (resource, text) in budgets.into_iter().flatten() {
        let Ok(amount) = Amount::try_from(text) else { continue };
        if least.get(resource.as_str()).is_none_or(|(known, _)| amount < *known) {
            least.insert(resource, (amount, text));
        }
    }
    least.into_iter().map(|(resource, (_, text))| (resource.to_owned(), text.clone())).collect()
}

/// The shares of all namespaces of a tenant. `quotas` are those that are there, by namespace.
pub fn deal(
    budget: &Amounts,
    namespaces: &BTreeSet<String>,
    quotas: &BTreeMap<String, ResourceQuota>,
) -> BTreeMap<String, Amounts> {
    let mut dealt: BTreeMap<String, Amounts> =
        namespaces.iter().map(|namespace| (namespace.clone(), Amounts::new())).collect();
    for (resource, text) in budget {
        let Ok(total) = Amount::try_from(text) else { continue };
        let holdings: Vec<Holding> =
            namespaces.iter().map(|namespace| holding(quotas.get(namespace), resource)).collect();
        let shares = split(total.to_nanos(), step(resource, total), &holdings);
        for (namespace, share) in namespaces.iter().zip(shares) {
            if let (Some(shares), Some(share)) = (dealt.get_mut(namespace), written_like(total, share)) {
                shares.insert(resource.clone(), share.into());
            }
        }
    }
    dealt
}

fn holding(quota: Option<&ResourceQuota>, resource: &str) -> Holding {
    let read = |amounts: Option<&Amounts>| {
        let amount = amounts.and_then(|amounts| Amount::try_from(amounts.get(resource)?).ok());
        amount.map_or(0, Amount::to_nanos)
    };
    let spec = quota.and_then(|quota| quota.spec.as_ref());
    let status = quota.and_then(|quota| quota.status.as_ref());
    Holding {
        used: read(status.and_then(|status| status.used.as_ref())),
        asked: read(spec.and_then(|spec| spec.hard.as_ref())),
        in_force: read(status.and_then(|status| status.hard.as_ref())),
    }
}

/// Whether a quota asks for `shares`, however they are written.
pub fn asks_for(quota: Option<&ResourceQuota>, shares: &Amounts) -> bool {
    let Some(hard) = quota.and_then(|quota| quota.spec.as_ref()?.hard.as_ref()) else { return false };
    hard.len() == shares.len()
        && shares.iter().all(|(resource, share)| {
            let same = |text: &Quantity| Amount::try_from(text).ok() == Amount::try_from(share).ok();
            hard.get(resource).is_some_and(same)
        })
}

/// The least that is worth moving, in billionths.
fn step(resource: &str, total: Amount) -> i128 {
    let (unit, mebi) = (1_000_000_000, 1 << 20);
    let name = resource.rsplit(['/', '.']).next().unwrap_or(resource);
    match name {
        "cpu" => unit / 1000,
        "memory" | "storage" | "ephemeral-storage" if total.to_nanos() % (unit * mebi) == 0 => unit * mebi,
        _ => unit,
    }
}

/// `nanos` as a quantity of the family in which `like` is written.
fn written_like(like: Amount, nanos: i128) -> Option<Amount> {
    like.checked_sub(like)?.checked_add(format!("{nanos}n").parse().ok()?)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;

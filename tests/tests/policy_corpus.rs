//! The corpus of ways around a policy, put to the evaluator alone.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::mutate::{self, Stage};
use k3k_policy::pod::Role;
use k3k_policy::{Facts, Governing, Operation, Question, Requester, Violation, judge, read_policy};
use k3k_tests::corpus::{Case, Corpus, Entry, Expect, caller, contains};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every row of the catalogue of bypasses, by section.
const ROWS: &[(char, &[u8])] = &[
    ('A', &[1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 29, 30]),
    ('B', &[2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20, 22]),
    ('C', &[1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22]),
    ('D', &[1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23]),
    ('E', &[2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20, 22, 23, 24, 26]),
    ('F', &[1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20]),
    ('G', &[1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16]),
    ('H', &[1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20]),
    ('I', &[1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17]),
    ('J', &[1, 3, 4, 5, 7, 8, 9, 11, 12, 13]),
    ('K', &[2, 3, 4, 6, 7, 8, 10, 11, 12]),
];

/// When the corpus is judged: exemptions end.
const NOW: &str = "2026-10-01T00:00:00Z";

/// No row is silently missing, and nothing is refused without showing what stays allowed.
#[test]
fn every_row_is_there() -> Result<()> {
    let corpus = Corpus::read()?;
    let mut known = BTreeSet::new();
    for (section, numbers) in ROWS {
        known.extend(numbers.iter().map(|number| format!("{section}{number:02}")));
    }
    let (mut shown, mut refused, mut twins, mut ids) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in &corpus.entries {
        ensure!(ids.insert(entry.id.clone()), "{} is there twice", entry.id);
        ensure!(known.contains(entry.row()), "{}: no such row", entry.id);
        ensure!(!entry.title.is_empty(), "{}: no title", entry.id);
        ensure!(entry.expect.is_some() != entry.elsewhere.is_some(), "{}: expect, or elsewhere", entry.id);
        ensure!(entry.elsewhere.is_none() || entry.reason.is_some(), "{}: why elsewhere?", entry.id);
        shown.insert(entry.row().to_owned());
        if entry.is_twin() {
            ensure!(
                matches!(entry.expect, Some(Expect::Allow | Expect::Mutate | Expect::Warn)),
                "{}: a twin is admitted",
                entry.id
            );
            twins.insert(entry.row().to_owned());
        } else if entry.expect == Some(Expect::Deny) {
            refused.insert(entry.row().to_owned());
        }
        for rule in &entry.rules {
            let is_known =
                k3k_policy::rules::ALL.iter().chain(k3k_policy::rules::GUARDS).any(|known| known == rule)
                    || [k3k_policy::MALFORMED, k3k_policy::POLICY_MISSING].contains(&rule.as_str());
            ensure!(is_known, "{}: no rule {rule}", entry.id);
        }
    }
    let missing: Vec<_> = known.difference(&shown).collect();
    ensure!(missing.is_empty(), "rows without an entry: {missing:?}");
    let alone: Vec<_> = refused.difference(&twins).collect();
    ensure!(alone.is_empty(), "refused, without a twin that is not: {alone:?}");
    Ok(())
}

/// Every rule is shown to refuse something.
#[test]
fn every_rule_refuses_something() -> Result<()> {
    let corpus = Corpus::read()?;
    let shown: BTreeSet<&str> =
        corpus.entries.iter().flat_map(|entry| entry.rules.iter().map(String::as_str)).collect();
    let all = k3k_policy::rules::ALL.iter().chain(k3k_policy::rules::GUARDS);
    let unused: Vec<_> = all.filter(|rule| !shown.contains(**rule)).collect();
    ensure!(unused.is_empty(), "{unused:?}");
    Ok(())
}

#[test]
fn what_is_tried_comes_out_as_it_should() -> Result<()> {
    let corpus = Corpus::read()?;
    let policies = policies(&corpus)?;
    let (mut wrong, mut count) = (Vec::new(), 0);
    for entry in corpus.entries.iter().filter(|entry| entry.elsewhere.is_none()) {
        for case in corpus.cases(entry).with_context(|| entry.id.clone())? {
            count += 1;
            if let Err(error) = tried(&corpus, &policies, entry, &case) {
                wrong.push(format!("{} ({}): {error:#}", case.label, entry.title));
            }
        }
    }
    ensure!(count >= corpus.entries.len() / 2, "{count}");
    ensure!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn policies(corpus: &Corpus) -> Result<BTreeMap<String, Governing>> {
    let mut all = BTreeMap::from([
        ("none".to_owned(), Governing::Default),
        ("missing".to_owned(), Governing::Missing { name: "nope".to_owned() }),
        (
            "unreadable".to_owned(),
            Governing::Unreadable { name: "odd".to_owned(), error: "spec.images: no".to_owned() },
        ),
    ]);
    for (name, spec) in &corpus.policies {
        let object = json!({"metadata": {"name": name, "generation": 1}, "spec": spec});
        let policy = read_policy(&object).with_context(|| name.clone())?;
        all.insert(name.clone(), Governing::Named(Arc::new(policy)));
    }
    Ok(all)
}

fn operation(name: &str) -> Result<Operation> {
    Ok(match name {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "CONNECT" => Operation::Connect,
        _ => anyhow::bail!("no operation {name}"),
    })
}

/// What people are told: the field, what is found there, whose word it is and what it allows; and nothing of others.
#[test]
fn what_is_said_can_be_read() -> Result<()> {
    let corpus = Corpus::read()?;
    let policies = policies(&corpus)?;
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    let (mut odd, mut vague) = (BTreeSet::new(), BTreeSet::new());
    for entry in corpus.entries.iter().filter(|entry| entry.elsewhere.is_none()) {
        for case in corpus.cases(entry)? {
            for violation in judged(&corpus, &policies, entry, &case)?.1 {
                let Violation { rule, field, message, .. } = &violation;
                if !is_sentence(message) || (!field.is_empty() && !message.contains(field.as_str())) {
                    odd.insert(format!("{rule}: {message}"));
                }
                let titles = ["VirtualClusterPolicy \"", "the default policy"];
                if !violation.is_guard() && !titles.iter().any(|title| message.contains(title)) {
                    vague.insert(*rule);
                }
                if !entry.is_twin() && case.expect == Expect::Deny {
                    first.entry(rule).or_insert_with(|| message.clone());
                }
            }
        }
    }
    ensure!(odd.is_empty(), "{odd:#?}");
    // What no policy needs to say.
    let own = ["images.digest", "images.registries", "malformed", "network.ingressHosts", "resources.perPod"];
    ensure!(vague == BTreeSet::from(own), "{vague:?}");
    insta::assert_yaml_snapshot!("sentences", first);
    Ok(())
}

/// No word is missing and none is there twice.
fn is_sentence(message: &str) -> bool {
    let words: Vec<&str> = message.split(' ').collect();
    let whole = words.iter().all(|word| !word.is_empty()) && words.windows(2).all(|pair| pair[0] != pair[1]);
    let ends = [" allows", " is", " only", " but", " or", " of", " and", " none", ":", "."];
    whole && message.len() < 1500 && !ends.iter().any(|end| message.ends_with(end))
}

/// Mutates and judges, as the webhooks do one after the other.
fn judged(
    corpus: &Corpus,
    policies: &BTreeMap<String, Governing>,
    entry: &Entry,
    case: &Case,
) -> Result<(Option<Value>, Vec<Violation>)> {
    let governing = policies.get(entry.policy()).with_context(|| format!("no policy {}", entry.policy()))?;
    let (user, groups) = caller(&entry.caller);
    let requester = Requester::of(&user, &groups, &case.namespace, "k3k-system");
    let target = entry.facts.target.as_ref().map(|target| corpus.object(target)).transpose()?;
    let taken = |host: &str| entry.facts.taken_hosts.iter().any(|taken| taken == host);
    let facts = Facts {
        governing,
        now: NOW.parse::<Timestamp>()?,
        target: target.as_ref(),
        may_use_policies: entry.facts.may_use_policies,
        clusters_in_namespace: entry.facts.clusters_in_namespace,
        host_is_taken: &taken,
    };
    let mutated = changed(case, governing, entry);
    let question = Question {
        operation: operation(&case.operation)?,
        group: &case.group,
        resource: &case.resource,
        sub_resource: &case.sub_resource,
        namespace: &case.namespace,
        name: &case.name,
        requester: &requester,
        object: mutated.as_ref(),
        old: case.old.as_ref(),
    };
    let found = judge(&question, &facts);
    Ok((mutated, found))
}

fn tried(corpus: &Corpus, policies: &BTreeMap<String, Governing>, entry: &Entry, case: &Case) -> Result<()> {
    let (mutated, found) = judged(corpus, policies, entry, case)?;
    let of = |mode: EnforcementMode| -> BTreeSet<&str> {
        found.iter().filter(|violation| violation.mode == mode).map(|violation| violation.rule).collect()
    };
    let (denied, warned) = (of(EnforcementMode::Enforce), of(EnforcementMode::Warn));
    let expected: BTreeSet<&str> = entry.rules.iter().map(String::as_str).collect();
    let what = || report(&found);
    match case.expect {
        Expect::Deny => {
            ensure!(!denied.is_empty(), "admitted; expected {expected:?}");
            ensure!(denied == expected, "refused by {denied:?}, expected {expected:?}: {}", what());
        }
        Expect::Warn => {
            ensure!(denied.is_empty(), "refused: {}", what());
            if entry.container.is_some() {
                // Some guards say nothing about templates: their pods are refused.
                let by_policy = expected.iter().any(|rule| !k3k_policy::is_guard(rule));
                ensure!(
                    warned.is_subset(&expected) && warned.is_empty() <= !by_policy,
                    "warned of {warned:?}: {}",
                    what()
                );
                return Ok(());
            }
            ensure!(!warned.is_empty() && warned == expected, "warned of {warned:?}: {}", what());
        }
        Expect::Allow => ensure!(found.is_empty(), "not admitted: {}", what()),
        Expect::Mutate => {
            ensure!(denied.is_empty(), "refused: {}", what());
            let part = entry.mutated.as_ref().context("mutated is missing")?;
            let whole = mutated.as_ref().context("nothing to mutate")?;
            if entry.container.is_none() {
                ensure!(contains(whole, part), "became {whole}");
            } else {
                let spec = whole.get("spec").context("no spec")?;
                let lists = ["containers", "initContainers", "ephemeralContainers"];
                let mut all = lists.iter().filter_map(|list| spec.get(list)?.as_array()).flatten();
                let tried = all.find(|container| container["name"] == "tried").context("no container")?;
                ensure!(contains(tried, part), "became {tried}");
            }
        }
    }
    Ok(())
}

fn changed(case: &Case, governing: &Governing, entry: &Entry) -> Option<Value> {
    let object = case.object.as_ref()?;
    let is_pod = case.group.is_empty() && case.resource == "pods";
    let Governing::Named(policy) = governing else { return Some(object.clone()) };
    let stage = match (case.operation.as_str(), case.sub_resource.as_str(), &case.old) {
        ("CREATE", "", _) => Stage::New,
        ("UPDATE", "" | "ephemeralcontainers", Some(old)) => Stage::Running(old),
        _ => return Some(object.clone()),
    };
    if !is_pod {
        return Some(object.clone());
    }
    Some(mutate::pod(object, policy, Role::of(object), stage, &entry.facts.digests))
}

fn report(found: &[Violation]) -> String {
    let lines = found.iter().map(|one| format!("{:?} {}: {}", one.mode, one.rule, one.message));
    lines.collect::<Vec<_>>().join(" | ")
}

use super::*;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

fn holding(used: i128, asked: i128, in_force: i128) -> Holding {
    Holding { used, asked, in_force }
}

#[rstest]
// Nothing is there: even shares, the odd ones to the first.
#[case(10, &[(0, 0, 0), (0, 0, 0), (0, 0, 0)], &[4, 3, 3])]
// What is used, and even room.
#[case(10, &[(4, 0, 0), (0, 0, 0)], &[7, 3])]
// Everything is dealt out, and everybody has room: nothing moves.
#[case(10, &[(4, 6, 6), (1, 4, 4)], &[6, 4])]
// The second has no room: the first gives first…
#[case(10, &[(0, 6, 6), (4, 4, 4)], &[3, 4])]
// …that is not in force yet…
#[case(10, &[(0, 3, 6), (4, 4, 4)], &[3, 4])]
// …and now the second is given more.
#[case(10, &[(0, 3, 3), (4, 4, 4)], &[3, 7])]
// What was asked for and is not in force counts.
#[case(10, &[(0, 9, 1), (0, 1, 1)], &[5, 1])]
// More is used than there is: nobody grows, nobody loses what runs.
#[case(5, &[(4, 6, 6), (3, 4, 4)], &[4, 3])]
// A namespace that was bound while its pods ran.
#[case(10, &[(2, 10, 10), (3, 0, 0)], &[5, 3])]
fn splits(#[case] budget: i128, #[case] holdings: &[(i128, i128, i128)], #[case] want: &[i128]) {
    let holdings: Vec<_> =
        holdings.iter().map(|(used, asked, force)| holding(*used, *asked, *force)).collect();
    assert_eq!(split(budget, 1, &holdings), want);
}

fn sum(holdings: &[Holding], of: impl Fn(&Holding) -> i128) -> i128 {
    holdings.iter().map(of).sum()
}

proptest! {
    /// A host that follows late, and tenants that use what they can.
    #[test]
    fn a_budget_is_never_exceeded_and_comes_to_rest(
        budget in 0_i128..500,
        step in 1_i128..9,
        count in 1_usize..7,
        moves in prop::collection::vec((0_usize..7, 0_u8..4, 0_i128..200), 0..60),
    ) {
        let mut holdings = vec![Holding::default(); count];
        for (index, what, amount) in moves {
            let one = &mut holdings[index % count];
            match what {
                // The host takes over what was asked for.
                0 => one.in_force = one.asked,
                // Pods come, as far as the host lets them, and go.
                1 => one.used = one.used.max((one.used + amount).min(one.in_force)),
                2 => one.used = (one.used - amount).max(0),
                _ => {
                    let next = split(budget, step, &holdings);
                    for (holding, next) in holdings.iter_mut().zip(next) {
                        prop_assert!(next >= holding.used);
                        holding.asked = next;
                    }
                }
            }
            // Who was given less while it used more keeps what runs; it was counted.
            prop_assert!(sum(&holdings, |holding| holding.in_force.max(holding.asked)) <= budget);
            prop_assert!(sum(&holdings, |holding| holding.used) <= budget);
        }
        // Nothing changes any more, and the host follows.
        for _ in 0..6 {
            let next = split(budget, step, &holdings);
            for (holding, next) in holdings.iter_mut().zip(next) {
                holding.asked = next;
                prop_assert!(holding.asked >= holding.used);
            }
            prop_assert!(sum(&holdings, |holding| holding.in_force.max(holding.asked)) <= budget);
            for holding in &mut holdings {
                holding.in_force = holding.asked;
            }
        }
        let rest: Vec<_> = holdings.iter().map(|holding| holding.asked).collect();
        prop_assert_eq!(split(budget, step, &holdings), rest, "it rests");
        prop_assert!(sum(&holdings, |holding| holding.asked) + step > budget, "all is dealt out");
        let even = (budget - sum(&holdings, |holding| holding.used)) / step / i128::try_from(count).unwrap() * step;
        for holding in &holdings {
            prop_assert!((holding.asked - holding.used) * 2 >= even, "everybody has room");
        }
    }

    /// However it came about, a step adds nothing to what is too much.
    #[test]
    fn no_step_makes_it_worse(
        budget in 0_i128..500,
        all in prop::collection::vec((0_i128..200, 0_i128..200, 0_i128..200), 1..7),
    ) {
        let holdings: Vec<_> = all.into_iter().map(|(used, asked, force)| holding(used, asked, force)).collect();
        let next = split(budget, 1, &holdings);
        let before = sum(&holdings, |holding| holding.committed());
        let after: i128 = holdings.iter().zip(&next).map(|(holding, next)| holding.committed().max(*next)).sum();
        prop_assert!(after <= before.max(budget));
        prop_assert!(holdings.iter().zip(&next).all(|(holding, next)| *next >= holding.used));
    }
}

fn amounts(pairs: &[(&str, &str)]) -> Amounts {
    pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
}

#[test]
fn shares_are_written_as_the_budget_is() {
    let namespaces = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let quota: ResourceQuota = serde_json::from_value(json!({
        "spec": { "hard": { "pods": "1" } },
        "status": { "hard": { "pods": "1" }, "used": { "pods": "1", "requests.memory": "100Mi" } },
    }))
    .unwrap();
    let budget = amounts(&[("requests.cpu", "3"), ("requests.memory", "1Gi"), ("pods", "5"), ("bad", "x")]);
    let dealt = deal(&budget, &namespaces, &BTreeMap::from([("a".to_owned(), quota.clone())]));
    assert_eq!(
        dealt["a"],
        amounts(&[("requests.cpu", "1500m"), ("requests.memory", "562Mi"), ("pods", "3")])
    );
    assert_eq!(
        dealt["b"],
        amounts(&[("requests.cpu", "1500m"), ("requests.memory", "462Mi"), ("pods", "2")])
    );
    assert!(!asks_for(Some(&quota), &dealt["a"]));
    assert!(asks_for(Some(&quota), &amounts(&[("pods", "1000m")])));
    assert!(!asks_for(None, &dealt["a"]));
}

#[test]
fn the_least_of_a_tenants_policies_counts() {
    let (one, other) =
        (amounts(&[("pods", "5"), ("cpu", "1")]), amounts(&[("pods", "5000m"), ("cpu", "900m"), ("x", "1")]));
    assert_eq!(least([&one, &other]), amounts(&[("pods", "5"), ("cpu", "900m"), ("x", "1")]));
}

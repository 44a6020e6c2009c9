//! `docs/policy.md` ends with every rule, as the evaluator describes it.
//! `K3K_BLESS=1 cargo test -p k3k-tests --test policy_docs` writes it.

use anyhow::{Context, Result, ensure};
use k3k_policy::described::{all, without_the_webhook};
use k3k_tests::workspace;
use std::fmt::Write as _;
use std::{env, fs};

const MARK: &str = "## Every rule\n";

fn rules() -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "{MARK}\nWritten from the evaluator itself. \"Without\" says who enforces a rule while the webhook cannot be asked and its registration was taken away."
    )?;
    for one in all() {
        write!(text, "\n### {}\n\n{}. {}\n\n", one.rule, one.title, one.why)?;
        writeln!(
            text,
            "* refused: `{}`\n* fine: `{}`\n* without: {}",
            one.example_bad,
            one.example_good,
            without_the_webhook(one.rule)
        )?;
    }
    Ok(text)
}

#[test]
fn every_rule_is_in_the_documentation() -> Result<()> {
    let path = workspace::path("docs/policy.md");
    let page = fs::read_to_string(&path)?;
    let (head, _) = page.split_once(MARK).unwrap_or((&page, ""));
    let wanted = format!("{head}{}", rules()?);
    if env::var_os("K3K_BLESS").is_some() {
        fs::write(&path, &wanted).context("writing docs/policy.md")?;
    }
    ensure!(
        fs::read_to_string(&path)? == wanted,
        "docs/policy.md is behind: K3K_BLESS=1 cargo test -p k3k-tests --test policy_docs"
    );
    Ok(())
}

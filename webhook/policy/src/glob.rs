//! Globs, as policies write them. No regular expressions: everybody can say what a glob means, and matching one takes no time to speak of.

/// Whether `path` is one that `glob` names, part by part between slashes: `*` in a part is any text, a part `*` is any one part, `**` any
/// number of parts.
pub fn path(glob: &str, path: &str) -> bool {
    let globs: Vec<&str> = glob.split('/').collect();
    let parts: Vec<&str> = path.split('/').collect();
    parts_match(&globs, &parts)
}

/// Dynamic programming over the parts: a glob of many `**` takes no longer than their product.
fn parts_match(globs: &[&str], parts: &[&str]) -> bool {
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    for glob in globs {
        let mut next = vec![false; parts.len() + 1];
        if *glob == "**" {
            let mut any = false;
            for (at, slot) in next.iter_mut().enumerate() {
                any |= reached[at];
                *slot = any;
            }
        } else {
            for (at, part) in parts.iter().enumerate() {
                next[at + 1] = reached[at] && text(glob, part);
            }
        }
        reached = next;
    }
    reached[parts.len()]
}

/// Whether `text` is one that `glob` names, where `*` is any text.
pub fn text(glob: &str, text: &str) -> bool {
    let mut pieces = glob.split('*');
    let Some(first) = pieces.next() else { return text.is_empty() };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// Whether the host name `host` is one that `allowed` names: itself, or with `*.` in front any name of one more part. Both are compared
/// as DNS compares names: without case, and without the last dot.
pub fn host(allowed: &str, host: &str) -> bool {
    let (allowed, host) = (host_name(allowed), host_name(host));
    match allowed.strip_prefix("*.") {
        Some(domain) => match host.split_once('.') {
            Some((first, rest)) => !first.is_empty() && rest == domain,
            None => false,
        },
        None => allowed == host,
    }
}

/// A host name as DNS compares it.
pub fn host_name(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("team-a/**", "team-a/app", true)]
    #[case("team-a/**", "team-a/x/y", true)]
    #[case("team-a/**", "team-a", true)]
    #[case("team-a/**", "team-a-evil/x", false)]
    #[case("team-a/*", "team-a/x/y", false)]
    #[case("*/app", "team-a/app", true)]
    #[case("**/app", "a/b/app", true)]
    #[case("app-*", "app-web", true)]
    #[case("app-*", "apps", false)]
    #[case("", "a", false)]
    fn repositories(#[case] glob: &str, #[case] path: &str, #[case] matches: bool) {
        assert_eq!(super::path(glob, path), matches);
    }

    #[rstest]
    #[case("*.a.example", "x.a.example", true)]
    #[case("*.a.example", "X.A.Example.", true)]
    #[case("*.a.example", "a.example", false)]
    #[case("*.a.example", "x.y.a.example", false)]
    #[case("*.a.example", "*.a.example", true)]
    #[case("a.example", "b.example", false)]
    #[case("a.example", "*", false)]
    fn hosts(#[case] allowed: &str, #[case] host: &str, #[case] matches: bool) {
        assert_eq!(super::host(allowed, host), matches);
    }

    #[rstest]
    #[case("a*a", "a", false)]
    #[case("a*a", "aa", true)]
    #[case("*", "", true)]
    #[case("prometheus.io/*", "prometheus.io/scrape", true)]
    #[case("a*b*c", "axxbyyc", true)]
    #[case("a*b*c", "acb", false)]
    fn texts(#[case] glob: &str, #[case] text: &str, #[case] matches: bool) {
        assert_eq!(super::text(glob, text), matches);
    }

    proptest! {
        #[test]
        fn every_text_matches_itself_and_the_star(text in "[a-z./-]{0,20}") {
            prop_assert!(super::text(&text, &text));
            prop_assert!(super::text("*", &text));
            prop_assert!(super::path(&text, &text));
            prop_assert!(super::path("**", &text));
        }

        #[test]
        fn nothing_panics(glob in ".{0,20}", text in ".{0,20}") {
            let _ = (super::text(&glob, &text), super::path(&glob, &text), super::host(&glob, &text));
        }
    }
}

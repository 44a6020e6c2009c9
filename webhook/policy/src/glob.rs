//! Globs, as policies write them. No regular expressions: everybody can say what a glob means, and matching one takes no time to speak of.

/// Whether `path` is one that `glob` names, part by part between slashes: `*` in a part is any text, a part `*` is any one part, `**` any
/// number of parts.
pub fn path(glob: &str, path: &str) -> bool {
    let (mut globs, mut parts) = (glob.split('/'), path.split('/'));
    // Where to go on when the last `**` has to be one part more. To try others again would find nothing else, so a glob of many takes no longer
    // than the product of the parts.
    let mut again = None;
    loop {
        match (globs.clone().next(), parts.clone().next()) {
            (Some("**"), _) => {
                globs.next();
                again = Some((globs.clone(), parts.clone()));
                continue;
            }
            (Some(glob), Some(part)) if text(glob, part) => {
                globs.next();
                parts.next();
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((after, from)) = &mut again else { return false };
        if from.next().is_none() {
            return false;
        }
        (globs, parts) = (after.clone(), from.clone());
    }
}

/// Whether `text` is one that `glob` names, where `*` is any text.
pub fn text(glob: &str, text: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == text };
    let (pieces, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(first) else { return false };
    for piece in pieces.split('*') {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
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

//! What a registry says when it wants to know who asks: `WWW-Authenticate`, by RFC 9110.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// More of a header is not read.
const LONGEST: usize = 4096;

/// How a registry lets itself be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With a token from elsewhere.
    Bearer {
        /// Where tokens come from.
        realm: String,
        /// Who the token is for, in the words of the registry.
        service: Option<String>,
    },
    /// With user and password.
    Basic,
}

/// The challenge to answer: a token tells the registry less than a password does.
pub(super) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let mut found = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        for challenge in parse(text.get(..LONGEST).unwrap_or(text)) {
            match challenge {
                Challenge::Bearer { .. } => return Some(challenge),
                Challenge::Basic => found = Some(challenge),
            }
        }
    }
    found
}

/// Every challenge of one header that we know how to answer.
fn parse(text: &str) -> Vec<Challenge> {
    let mut known = Vec::new();
    for Raw { scheme, parameters } in split(text) {
        let parameter = |name: &str| {
            let mut all = parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            all.next().map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            known.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameter("realm")
        {
            known.push(Challenge::Bearer { realm, service: parameter("service") });
        }
    }
    known
}

/// A challenge of any kind.
struct Raw<'a> {
    scheme: &'a str,
    parameters: Vec<(&'a str, String)>,
}

/// A word that is followed by `=` is a parameter, and any other begins a challenge. What is neither is skipped.
fn split(text: &str) -> Vec<Raw<'_>> {
    let mut challenges: Vec<Raw<'_>> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = word(rest);
        if word.is_empty() {
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str();
        } else if let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            let (value, after) = read_value(value.trim_start_matches([' ', '\t']));
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.push((word, value));
            }
            rest = after;
        } else {
            challenges.push(Raw { scheme: word, parameters: Vec::new() });
            rest = after;
        }
    }
    challenges
}

fn word(text: &str) -> (&str, &str) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_word(c)).unwrap_or(text.len()))
}

/// A word, or anything in quotes, where a backslash takes the next character as it is.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = word(text);
        return (value.to_owned(), rest);
    };
    let (mut value, mut characters) = (String::new(), quoted.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) }
    }

    #[rstest]
    #[case::usual(r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull""#, vec![bearer("https://a/t", Some("s"))])]
    #[case::loose(r#"bearer  REALM = "https://a/t" , Service=s"#, vec![bearer("https://a/t", Some("s"))])]
    #[case::commas_in_quotes(r#"Bearer scope="repository:x:pull,push",realm="https://a/t?a=b,c""#, vec![bearer("https://a/t?a=b,c", None)])]
    #[case::escapes(r#"Bearer realm="https://a/\"t\\""#, vec![bearer("https://a/\"t\\", None)])]
    #[case::first_counts(r#"Bearer realm="https://a",realm="https://b""#, vec![bearer("https://a", None)])]
    #[case::two(r#"Basic realm="x", Bearer realm="https://a""#, vec![Challenge::Basic, bearer("https://a", None)])]
    #[case::others(r#"Negotiate abc==, Digest realm="x", Basic"#, vec![Challenge::Basic])]
    #[case::no_realm(r#"Bearer service="s""#, vec![])]
    #[case::no_scheme(r#"realm="https://a""#, vec![])]
    #[case::open_quote(r#"Bearer realm="https://a"#, vec![bearer("https://a", None)])]
    fn challenges_are_read(#[case] text: &str, #[case] expected: Vec<Challenge>) {
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_token_is_better_than_a_password() {
        let mut headers = HeaderMap::new();
        assert_eq!(choose(&headers), None);
        headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        assert_eq!(choose(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a\"".parse().unwrap());
        assert_eq!(choose(&headers), Some(bearer("https://a", None)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in prop_oneof!["\\PC{0,60}", "(Bearer|Basic|realm|=|\"|\\\\| |,|é){0,30}"]) {
            parse(&text);
        }
    }
}

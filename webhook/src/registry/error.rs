//! Why a tag has no digest.

use std::time::Duration;

/// How long a definite answer that there is no such image is believed.
const KEEP_NOT_FOUND: Duration = Duration::from_secs(10);
/// How long other refusals are believed.
const KEEP_REFUSAL: Duration = Duration::from_secs(5);
/// The longest that a registry can make us wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why the digest of an image is not known. Tells neither credentials nor addresses, so tenants may read it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the digest of image {image} is not known: registry {registry} {problem}")]
pub struct Error {
    /// The registry, as [`k3k_api::image::normalized_host`] writes it.
    pub registry: String,
    /// The image in full.
    pub image: String,
    /// What went wrong.
    pub problem: Problem,
}

/// What went wrong. Each completes a sentence that begins with the registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no such repository or tag.
    #[error("has no such image")]
    NotFound,
    /// The registry does not let us see it.
    #[error("refuses {}", if *.with_credentials { "the pod's pull secret" } else { "whoever has no pull secret for it" })]
    Unauthorized {
        /// Whether it was asked in the name of a pull secret.
        with_credentials: bool,
    },
    /// The registry wants to be left alone for a while.
    #[error("asks for a pause of {} s", .retry_after.as_secs())]
    TooManyRequests {
        /// For how long, at most a minute.
        retry_after: Duration,
    },
    /// The registry's name, or that of its token service, leads to where no public registry is.
    #[error(
        "has no address that the policy allows: addresses that are not public are only for registries marked private"
    )]
    Forbidden,
    /// The name is an address, `localhost` or a single word, and the policy does not list it as such.
    #[error("is not listed by this name, and may not be guessed at")]
    Unlisted,
    /// Tokens are to be fetched from someone whom credentials are not for.
    #[error("sends us to {host:?} for a token, which the policy does not name for it")]
    BadRealm {
        /// Where to.
        host: String,
    },
    /// The registry sends us elsewhere.
    #[error("redirects to elsewhere")]
    Redirect,
    /// The registry cannot be asked, or cannot answer.
    #[error("cannot be asked: {why}")]
    Unreachable {
        /// In a few words.
        why: String,
        /// When it says itself that it may be well again, at most a minute.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    #[error("has not answered in time")]
    Slow,
    /// The answer makes no sense, or contradicts itself.
    #[error("does not answer as registries do: {why}")]
    Lying {
        /// In a few words.
        why: &'static str,
    },
    /// Too many other lookups are under way in this process.
    #[error("was not asked: too many lookups are under way")]
    Busy,
}

impl Problem {
    /// The registry cannot be asked, and does not say until when.
    pub(super) fn unreachable(why: impl Into<String>) -> Self {
        Self::Unreachable { why: why.into(), retry_after: None }
    }

    /// The problem in one word, for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Unauthorized { .. } => "unauthorized",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::Forbidden => "forbidden-address",
            Self::Unlisted => "unlisted",
            Self::BadRealm { .. } => "bad-realm",
            Self::Redirect => "redirect",
            Self::Unreachable { .. } => "unreachable",
            Self::Slow => "slow",
            Self::Lying { .. } => "lying",
            Self::Busy => "busy",
        }
    }

    /// Whether it says nothing about the image, so that an earlier answer is better than none.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::TooManyRequests { .. } | Self::Unreachable { .. } | Self::Slow | Self::Busy)
    }

    /// Whether the registry is to blame, and should be spared when it happens again and again.
    pub(super) fn is_failure_of_host(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Slow)
    }

    /// For how long the same question gets the same answer unasked.
    pub(super) fn keep_for(&self) -> Duration {
        match self {
            Self::NotFound => KEEP_NOT_FOUND,
            Self::TooManyRequests { retry_after }
            | Self::Unreachable { retry_after: Some(retry_after), .. } => (*retry_after).min(LONGEST_PAUSE),
            // These may be over at once; a registry that is down for longer is found out by the breaker.
            Self::Unreachable { retry_after: None, .. } | Self::Slow | Self::Busy => Duration::ZERO,
            Self::Unauthorized { .. }
            | Self::Forbidden
            | Self::Unlisted
            | Self::BadRealm { .. }
            | Self::Redirect
            | Self::Lying { .. } => KEEP_REFUSAL,
        }
    }
}

/// What `Retry-After` says, in seconds: a date is as good as nothing, since clocks differ.
pub(super) fn pause(retry_after: Option<&http::HeaderValue>) -> Option<Duration> {
    let seconds = retry_after?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

//! Breaking the glass when the webhook cannot be asked, and mending it when the time is up. All that is to be remembered is in the webhook's
//! registration, see [`k3k_api::break_glass`], so that a controller that starts later knows as much.
//!
//! The fields by which a registration is open or closed are ours, glass or no glass: what others make of them is put right.

pub mod decide;
pub mod registration;

use super::Context;
use super::error::Error;
use crate::cluster::restart;
use decide::Glass;
use futures::StreamExt as _;
use futures::stream::select;
use jiff::Timestamp;
use k3k_api::break_glass::{BreakGlass, REGISTRATION};
use k3k_api::{labels, managers};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, TypeMeta};
use kube::runtime::events::{Event, EventType};
use kube::runtime::{WatchStreamExt as _, watcher::watch_object};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;
use std::pin::pin;
use std::time::Duration;

/// How long until everything is looked at again when nothing happens.
const RESYNC: Duration = Duration::from_secs(10 * 60);
/// How long to wait after a failure, and for the news of what we wrote.
const RETRY: Duration = Duration::from_secs(2);

/// What is known of the registrations, and what was told of the glass.
#[derive(Default)]
struct Known {
    mutating: Option<DynamicObject>,
    validating: Option<DynamicObject>,
    told: Option<BreakGlass>,
}

/// Opens and closes for as long as it is polled.
pub async fn run(context: &Context) {
    let watch = |api| watch_object(api, REGISTRATION).backoff(restart::after_errors());
    let mutating = watch(mutating(context)).map(|seen| (true, seen));
    let validating = watch(validating(context)).map(|seen| (false, seen));
    let mut registrations = pin!(select(mutating, validating));
    let (mut known, mut pause) = (Known::default(), RESYNC);
    loop {
        tokio::select! {
            seen = registrations.next() => match seen {
                Some((true, Ok(found))) => known.mutating = named::<MutatingWebhookConfiguration>(found),
                Some((false, Ok(found))) => known.validating = named::<ValidatingWebhookConfiguration>(found),
                Some((_, Err(error))) => tracing::warn!(%error, "watching the webhook's registrations"),
                None => return,
            },
            () = tokio::time::sleep(pause) => {}
        }
        pause = step(context, &mut known).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the webhook's registrations are not as open or closed as they should be");
            RETRY
        });
    }
}

/// The object, saying what it is: the items of a list do not.
fn named<K: Resource<DynamicType = ()>>(found: Option<DynamicObject>) -> Option<DynamicObject> {
    found.map(|found| DynamicObject { types: Some(TypeMeta::resource::<K>()), ..found })
}

fn mutating(context: &Context) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<MutatingWebhookConfiguration>(&());
    Api::all_with(context.client.clone(), &kind)
}

fn validating(context: &Context) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
    Api::all_with(context.client.clone(), &kind)
}

/// Does what is due, and says how long until the next look. What it writes comes back as news.
async fn step(context: &Context, known: &mut Known) -> Result<Duration, Error> {
    let Some(validating_found) = &known.validating else { return Ok(RESYNC) };
    let now = Timestamp::now();
    let annotation = validating_found.annotations().get(labels::BREAK_GLASS);
    let glass = Glass::at(annotation.map(String::as_str), now);
    context.metrics.set_break_glass(glass.open().map(|glass| glass.until.0.as_second()));

    let mut written = false;
    for (api, found) in [(mutating(context), &known.mutating), (validating(context), &known.validating)] {
        if let Some(found) = found {
            written |= put_right(&api, found, glass.open()).await?;
        }
    }
    if written {
        // Unasked, and by nobody's leave.
        if glass == Glass::Whole && known.told.is_none() {
            tracing::warn!("the webhook's registrations were opened by hand; closed again");
            let note = "failurePolicy is Fail again; to open the webhook for a while: kubectl k3k policy break-glass";
            tell(context, validating_found, EventType::Warning, "RegistrationRestored", note.to_owned())
                .await;
            context.audit.look_at_all();
        }
        return Ok(RETRY);
    }
    if matches!(glass, Glass::Over(_) | Glass::Refused(_)) {
        forget(context, validating_found).await?;
    }
    report(context, validating_found, &glass, &mut known.told).await;
    Ok(glass.look_again_in(now).unwrap_or(RESYNC))
}

/// Makes a registration as open as it should be. Whether there was anything to do.
async fn put_right(
    api: &Api<DynamicObject>,
    found: &DynamicObject,
    glass: Option<&BreakGlass>,
) -> Result<bool, Error> {
    let Some(patch) = registration::patch(found, glass) else { return Ok(false) };
    let parameters = PatchParams::apply(managers::BREAK_GLASS).force();
    match api.patch(REGISTRATION, &parameters, &Patch::Apply(patch)).await {
        Ok(_) => Ok(true),
        // It has gone, or is another by now, of which news will come.
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(true),
        Err(source) => Err(Error::Write { what: what(found), source }),
    }
}

/// Takes away the annotation that has had its time, as it was seen.
async fn forget(context: &Context, found: &DynamicObject) -> Result<(), Error> {
    let patch = json!({"metadata": {
        "annotations": {labels::BREAK_GLASS: null}, "resourceVersion": found.metadata.resource_version,
    }});
    match validating(context).patch(REGISTRATION, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Write { what: what(found), source }),
    }
}

fn what(found: &DynamicObject) -> String {
    let kind = found.types.as_ref().map_or("registration", |types| types.kind.as_str());
    format!("{kind} {REGISTRATION:?}")
}

/// Tells what has changed, once.
async fn report(context: &Context, found: &DynamicObject, glass: &Glass, told: &mut Option<BreakGlass>) {
    let by = |glass: &BreakGlass| if glass.by.is_empty() { "somebody".to_owned() } else { glass.by.clone() };
    match glass {
        Glass::Broken(glass) if told.as_ref() != Some(glass) => {
            let (by, place, until) = (by(glass), glass.place(), glass.until.0);
            let reason = &glass.reason;
            tracing::warn!(
                by,
                reason,
                %until,
                place,
                "the glass is broken: what the webhook does not answer is admitted"
            );
            let note = format!(
                "{by} broke the glass for {place} until {until}: {reason}. Only what the API server itself enforces holds there while the webhook is away"
            );
            tell(context, found, EventType::Warning, "GlassBroken", note).await;
            *told = Some(glass.clone());
        }
        Glass::Over(_) | Glass::Whole if told.is_some() || matches!(glass, Glass::Over(_)) => {
            let why = if matches!(glass, Glass::Over(_)) { "the time is up" } else { "it was ended by hand" };
            tracing::info!(why, "the glass is whole again: the webhook is asked, and fails closed");
            let note = format!(
                "The webhook is asked again and fails closed: {why}. What got in meanwhile and breaks a policy is counted in its status.violations"
            );
            tell(context, found, EventType::Normal, "GlassMended", note).await;
            *told = None;
            context.audit.look_at_all();
        }
        Glass::Refused(why) => {
            tracing::warn!(why, "the glass is not broken");
            let note = format!("Nothing is opened: {why}. Use kubectl k3k policy break-glass");
            tell(context, found, EventType::Warning, "BreakGlassRefused", note).await;
            *told = None;
        }
        Glass::Broken(_) | Glass::Over(_) | Glass::Whole => {}
    }
}

async fn tell(context: &Context, found: &DynamicObject, type_: EventType, reason: &str, note: String) {
    let kind = found.types.clone().unwrap_or_default();
    let about = ObjectReference {
        api_version: Some(kind.api_version),
        kind: Some(kind.kind),
        name: Some(found.name_any()),
        uid: found.uid(),
        ..ObjectReference::default()
    };
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "BreakGlass".to_owned(),
        secondary: None,
    };
    context.events.publish(event, &about).await;
}

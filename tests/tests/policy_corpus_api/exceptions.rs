//! What cannot be asked of this API server, or comes out otherwise there, and why.

use crate::outcome::By;

/// Who refuses it instead, why, and the entries for which it holds; with ` template`, those of their cases that are templates.
pub(crate) type Exception = (By, &'static str, &'static [&'static str]);

/// With the webhook.
pub(crate) fn with_the_webhook() -> &'static [Exception] {
    &[
        (
            By::Nobody,
            "the API server drops fields that it does not know, before it asks anybody",
            &[
                "A25",
                "A25.container",
                "A25.containerSecurity",
                "A25.false",
                "A25.projection",
                "A25.security",
                "A25.volume",
                "D13.namespace",
            ],
        ),
        (
            By::Nobody,
            "the webhook is not asked about evictions, to which virtual kubelets have no right",
            &["B18.kubeletEvicts"],
        ),
        (By::Webhook, "needs a registry: webhook/src/registry/tests", &["E02+", "E12+", "E16.other"]),
        (By::ApiServer, "the API server takes no such object", &["E19", "H09+"]),
        (
            By::ApiServer,
            "the API server takes no such template, and asks nobody about it",
            &["C12 template", "C14 template", "F02 template", "F02.hex template", "F02.space template"],
        ),
        (By::Nobody, "the API server reads null as nothing", &["F01.nullAmount"]),
        (By::Nobody, "the API server fills in requests from limits", &["F01.number"]),
    ]
}

/// Without it.
pub(crate) fn of_the_floor() -> &'static [Exception] {
    &[(By::Nobody, "the API server drops fields of what is not switched on", &["D03", "D03.bundle"])]
}

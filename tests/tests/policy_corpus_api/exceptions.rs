//! What cannot be asked of this API server, or comes out otherwise there, and why.

/// A reason, and the entries for which it holds; with ` template`, those of their cases that are templates.
pub(crate) type Exception = (&'static str, &'static [&'static str]);

/// With the webhook.
pub(crate) fn with_the_webhook() -> &'static [Exception] {
    &[
        (
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
            "the webhook is not asked about evictions, to which virtual kubelets have no right",
            &["B18.kubeletEvicts"],
        ),
        ("needs a registry: webhook/src/registry/tests", &["E02+", "E12+", "E16.other"]),
        ("the API server takes no such object", &["E19", "H09+"]),
        (
            "the API server takes no such template, and asks nobody about it",
            &["C12 template", "C14 template", "F02 template", "F02.hex template", "F02.space template"],
        ),
        ("the API server reads null as nothing", &["F01.nullAmount"]),
        ("the API server fills in requests from limits", &["F01.number"]),
    ]
}

/// Without it.
pub(crate) fn of_the_floor() -> &'static [Exception] {
    &[(
        "the floor does not say so yet",
        &[
            "A21",
            "A21.null",
            "A21.policy",
            "A21.value",
            "B04",
            "B04.kubelet",
            "B06.controller",
            "B06.job",
            "B07",
            "B07.attach",
            "B07.forward",
            "B08",
            "B08.stranger",
            "B11",
            "B14",
            "B16.template",
            "D02.stranger",
            "D03",
            "D03.bundle",
            "D05",
            "D06",
            "D06.kubelet",
            "D06.later",
            "D10",
            "G04.other",
            "G04.value",
            "G04.wider",
            "G08",
            "H01",
            "H01.later",
            "H01.nodePort",
            "H05",
            "H05.kubelet",
            "H05.later",
            "H05.other",
            "I01.adopt",
            "I02.annotation",
            "I02.prefix",
            "I04",
            "I04.policy",
            "I04.version",
            "I05",
            "I05.istio",
            "I09",
            "I09.account",
            "I09.subject",
        ],
    )]
}

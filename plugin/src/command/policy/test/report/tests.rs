use super::*;
use k3k_api::v1beta1::policy::EnforcementMode;

fn judged(kind: &str, name: &str, outcome: Outcome, modes: &[EnforcementMode]) -> Judged {
    let violations = modes.iter().map(|mode| Violation {
        mode: *mode,
        ..Violation::new(
            "images.digest",
            "spec.containers[0].image",
            "spec.containers[0].image is \"a<b>&c\u{1}\"",
        )
    });
    Judged {
        file: "app.yaml".into(),
        document: 1,
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
        verdict: Verdict { outcome, violations: violations.collect(), changes: vec!["+ spec.x: 1".into()] },
    }
}

fn report() -> Report {
    Report {
        policy: "gold".into(),
        host: false,
        cluster: "dev".into(),
        objects: vec![
            judged("Pod", "bad", Outcome::Denied, &[EnforcementMode::Enforce, EnforcementMode::Warn]),
            judged("Service", "meh", Outcome::Warned, &[EnforcementMode::Warn]),
            judged("Pod", "fine", Outcome::Admitted, &[]),
            judged("ConfigMap", "c", Outcome::NotJudged, &[]),
        ],
    }
}

#[test]
fn people_programs_and_ci_read_the_same() {
    insta::assert_snapshot!("text", report().text());
    insta::assert_snapshot!("json", report().json().expect("json"));
    insta::assert_snapshot!("junit", report().junit().expect("xml"));
    assert_eq!(report().worst(), Outcome::Denied);
}

#[test]
fn the_report_is_valid_xml_whatever_is_in_it() {
    let mut report = report();
    report.objects[0].name = "]]>\u{0}\u{FFFF}<x a=\"'&".into();
    report.policy = "<\"".into();
    let xml = report.junit().expect("xml");
    let mut reader = quick_xml::Reader::from_str(&xml);
    reader.config_mut().check_end_names = true;
    let mut cases = 0;
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Eof => break,
            Event::Start(start) | Event::Empty(start) => {
                for attribute in start.attributes() {
                    attribute.expect("attribute");
                }
                cases += usize::from(start.name().as_ref() == "testcase");
            }
            _ => {}
        }
    }
    assert_eq!(cases, 4);
}

use super::*;
use rstest::rstest;

fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("kubectl-k3k").chain(line.iter().copied()))
}

#[test]
fn the_tree_is_consistent() {
    tree(None).debug_assert();
}

#[test]
fn every_visible_command_has_its_place_in_the_help() {
    let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
    for command in tree(None).get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(listed.contains(&command.get_name()), "{}", command.get_name());
    }
}

#[rstest]
#[case("kubectl-k3k", "kubectl k3k")]
#[case("/x/krew/bin/kubectl-k3k", "kubectl k3k")]
#[case("kubectl-k3k.exe", "kubectl k3k")]
#[case("/usr/bin/k3k", "k3k")]
fn help_names_the_plugin_as_it_was_called(#[case] argv0: &str, #[case] want: &str) {
    assert_eq!(tree(Some(OsStr::new(argv0))).get_bin_name(), Some(want));
}

#[rstest]
#[case(&["get", "--context", "x"])]
#[case(&["get", "--as=jane", "--as-group=a", "--as-group=b"])]
#[case(&["-n", "ns", "get"])]
#[case(&["get", "-n", "ns", "-s", "https://x"])]
#[case(&["list", "-A", "-o", "wide"])]
#[case(&["ls", "dev", "-o=yaml"])]
#[case(&["status", "dev"])]
#[case(&["k", "dev", "--", "get", "pods", "-n", "x", "--as=y"])]
#[case(&["create", "dev", "--wait=false", "-v", "6"])]
#[case(&["create", "dev", "--no-wait"])]
#[case(&["create", "-f", "-"])]
#[case(&["cluster", "create", "dev", "--server-args=--a,--b", "--servers=3"])]
#[case(&["cluster", "list", "-n", "x"])]
#[case(&["cluster", "delete", "x/dev", "-y"])]
#[case(&["kubeconfig", "generate", "dev", "--kubeconfig-server=x"])]
#[case(&["kubeconfig", "generate", "--name", "dev"])]
#[case(&["delete", "--all", "-n", "x", "--yes", "--ignore-not-found"])]
#[case(&["install", "--set", "a.b=c", "--dry-run", "-o", "yaml"])]
#[case(&["version", "--client", "-o", "json"])]
#[case(&["completion", "bash"])]
#[case(&["policy", "list"])]
#[case(&["policy", "get", "gold", "-o", "wide"])]
#[case(&["policy", "create", "gold", "--namespace=a", "--namespace=b", "--overwrite", "--mode=shared", "--labels=a=b"])]
#[case(&["policy", "create", "-f", "-", "--dry-run", "-o", "yaml"])]
#[case(&["policy", "bind", "gold", "a", "b", "--context", "x"])]
#[case(&["policy", "unbind", "a"])]
#[case(&["policy", "delete", "gold", "--force", "-y"])]
#[case(&["policy", "test", "-f", "a.yaml", "b.yaml", "-f", "c", "--policy", "gold", "--cluster=dev", "-o", "junit"])]
#[case(&["policy", "test", "-f", "-", "--policy=gold.yaml", "--host", "-n", "x"])]
#[case(&["policy", "explain", "pod", "web", "-n", "x", "--cluster", "a/dev"])]
#[case(&["policy", "explain", "images.digest"])]
#[case(&["policy", "audit", "gold", "-f", "x.yaml", "-o", "json"])]
#[case(&["policy", "break-glass", "--for", "1h30m", "--reason", "r", "-n", "a", "--namespace=b,c"])]
#[case(&["policy", "break-glass", "--end"])]
fn good_lines(#[case] line: &[&str]) {
    if let Err(error) = parse(line) {
        panic!("{line:?}: {error}");
    }
}

#[rstest]
#[case(&["create"])]
#[case(&["create", "a", "b"])]
#[case(&["create", "a", "--nope"])]
#[case(&["create", "a", "--servers=0"])]
#[case(&["create", "a", "--agents=-1"])]
#[case(&["create", "a", "--mode=other"])]
#[case(&["create", "a", "--version=1.2"])]
#[case(&["create", "a", "--storage=big"])]
#[case(&["create", "a", "--cluster-cidr=x"])]
#[case(&["create", "a", "--cluster-dns=x"])]
#[case(&["create", "a", "--expose=yes"])]
#[case(&["create", "a", "--timeout=soon"])]
#[case(&["create", "a", "--dry-run=maybe"])]
#[case(&["create", "a", "--connect", "--no-kubeconfig"])]
#[case(&["create", "a", "--storage=1Gi", "--persistence-type=dynamic"])]
#[case(&["delete"])]
#[case(&["delete", "--all", "dev"])]
#[case(&["get", "dev", "-A"])]
#[case(&["get", "-o", "xml"])]
#[case(&["k", "dev"])]
#[case(&["k", "dev", "get", "pods"])]
#[case(&["kubeconfig"])]
#[case(&["frobnicate"])]
#[case(&["policy"])]
#[case(&["policy", "create"])]
#[case(&["policy", "create", "a", "--mode=none"])]
#[case(&["policy", "create", "a", "--level=strict"])]
#[case(&["policy", "create", "a", "--digest=maybe"])]
#[case(&["policy", "create", "a", "--quota=pods=many"])]
#[case(&["policy", "create", "a", "--registry=https://x"])]
#[case(&["policy", "create", "a", "--service-type=Other"])]
#[case(&["policy", "bind", "gold"])]
#[case(&["policy", "unbind"])]
#[case(&["policy", "delete"])]
#[case(&["policy", "test", "-f", "a"])]
#[case(&["policy", "test", "--policy", "a"])]
#[case(&["policy", "test", "-f", "a", "--policy", "a", "--host", "--nested"])]
#[case(&["policy", "test", "-f", "a", "--policy", "a", "-o", "yaml"])]
#[case(&["policy", "explain", "a", "b", "c"])]
#[case(&["policy", "explain", "images", "-f", "x"])]
fn bad_lines_are_usage_errors(#[case] line: &[&str]) {
    let error = parse(line).expect_err("refused");
    assert_eq!(error.exit_code(), 2, "{error}");
}

#[test]
fn connection_flags_are_hidden_from_help_and_listed_by_options() {
    let create = tree(None).find_subcommand("create").expect("create").clone().render_long_help().to_string();
    assert!(!create.contains("--certificate-authority") && create.contains("--storage"));
    insta::assert_snapshot!("options", connection_flags().render_help());
}

#[test]
fn a_flag_of_all_commands_means_what_the_command_says() {
    let Cli { connection, command } =
        parse(&["-n", "x", "policy", "test", "-f", "a", "--policy", "b", "--cluster", "dev"]).expect("line");
    let Some(Command::Policy(PolicyCommand::Test(args))) = command else { panic!("{command:?}") };
    assert_eq!((args.cluster.as_deref(), connection.namespace.as_deref()), (Some("dev"), Some("x")));
    let line = parse(&["policy", "create", "gold", "-n", "a", "--namespace=b"]).expect("line");
    let Some(Command::Policy(PolicyCommand::Create(args))) = line.command else {
        panic!("{:?}", line.command)
    };
    assert_eq!(args.namespaces, ["a", "b"]);
}

/// The reference page is this tree. `K3K_BLESS=1 cargo test -p kubectl-k3k` rewrites it.
#[test]
fn the_reference_page_is_current() {
    let page = reference();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    if std::env::var_os("K3K_BLESS").is_some() {
        std::fs::write(&path, page).expect("write docs/cli.md");
        return;
    }
    let written = std::fs::read_to_string(&path).expect("read docs/cli.md");
    assert!(written == page, "docs/cli.md is not current; K3K_BLESS=1 cargo test -p kubectl-k3k rewrites it");
}

fn reference() -> String {
    let mut page = include_str!("../../cli.head.md").to_owned();
    let mut tree = tree(None).term_width(100);
    tree.build();
    page.push_str("\n## The commands\n\n");
    section(&mut page, &tree.clone().render_help().to_string());
    let visible = |command: &&mut clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for command in tree.get_subcommands_mut().filter(visible) {
        let name = command.get_name().to_owned();
        let _ = write!(page, "\n## {name}\n\n");
        section(&mut page, &command.render_help().to_string());
        for command in command.get_subcommands_mut().filter(visible) {
            let _ = write!(page, "\n### {name} {}\n\n", command.get_name());
            section(&mut page, &command.render_help().to_string());
        }
    }
    page.push_str("\n## Flags of all commands\n\n");
    section(&mut page, &connection_flags().term_width(100).render_help().to_string());
    page
}

fn section(page: &mut String, help: &str) {
    page.push_str("```text\n");
    for line in help.trim_end().lines() {
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page.push_str("```\n");
}

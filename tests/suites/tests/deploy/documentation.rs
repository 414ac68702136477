//! The commands of the documentation, executed as somebody would type them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use veni_testbed::binaries;

use super::aws_values::{ENV, FURTHER};
use super::rendering::{block, deploy};

/// Commands whose options `helm template` has, too, but for the last.
const RENDERING: [&str; 3] = ["helm install ", "helm upgrade ", "helm template "];
/// Concerns values of a release that is there.
const OF_A_RELEASE: &str = " --reset-then-reuse-values";

fn docs() -> PathBuf {
    deploy("../docs")
}

/// The command lines of a page that render the chart: in blocks after a prompt, or in the text.
fn commands(page: &str) -> Vec<String> {
    let page = page.replace("\\\n", " ");
    let begun = RENDERING.iter().flat_map(|command| {
        page.match_indices(command)
            .map(|(start, _)| start)
            .collect::<Vec<_>>()
    });
    let lines = begun.filter_map(|start| match page[..start].chars().next_back() {
        Some('`') => page[start..].split('`').next(),
        Some(' ') if page[..start].ends_with("$ ") => page[start..].lines().next(),
        _ => None,
    });
    lines.map(|line| line.replace('\n', " ")).collect()
}

/// What a shell would be told, with the placeholders filled in.
fn filled(command: &str) -> String {
    let rendering = RENDERING[..2]
        .iter()
        .fold(command.to_owned(), |line, verb| {
            line.replace(verb, "helm template ")
        });
    let line = rendering.replace(OF_A_RELEASE, "");
    let line = line.replace('…', "registry.example/veni:1");
    line + " --kube-version 1.34.0"
}

/// Runs a line where the chart lies as in a checkout, with the values files that pages name.
fn ran(line: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = deploy("..").canonicalize().expect("the checkout");
    symlink(root.join("deploy"), folder.path().join("deploy")).expect("is made");
    let write = |name: &str, text: String| {
        fs::write(folder.path().join(name), text).expect("is written");
    };
    write("aws-vpc-cni.yaml", block("env", &ENV) + FURTHER);
    write("mine.yaml", "preset: eks\n".to_owned());
    let helm = binaries::helm();
    let before = std::env::var_os("PATH").unwrap_or_default();
    let folders = helm.parent().map(Path::to_owned).into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&before)));
    let output = Command::new("sh")
        .args(["-euc", line])
        .current_dir(folder.path())
        .env("PATH", path.expect("no folder has a colon in its name"))
        .env("HELM_CACHE_HOME", folder.path())
        .env("REGISTRY", "registry.example")
        .env("CLUSTER", "blue")
        .output()
        .expect("a shell can be executed");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn the_commands_of_the_documentation_render_the_chart() {
    let mut found = 0;
    for entry in fs::read_dir(docs()).expect("the documentation") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let page = fs::read_to_string(&path).expect("is text");
        for command in commands(&page) {
            let refused = ran(&filled(&command)).err();
            assert_eq!(refused, None, "{}: {command}", path.display());
            found += 1;
        }
    }
    assert_eq!(found, 7, "commands that render the chart");
}

#[test]
fn a_command_that_helm_or_the_chart_refuses_is_seen() {
    let page = "Type\n\n```console\n$ helm install veni deploy/chart/veni \\\n    \
                --set nodeSelector.veni=true\n```\n\nor `helm upgrade veni deploy/chart/veni\n\
                --reuse-values`, and not `helm uninstall veni`, nor say helm install twice.\n";
    let found = commands(page);
    assert_eq!(found.len(), 2, "{found:?}");
    for (command, words) in found.iter().zip(["nodeSelector", "--reuse-values"]) {
        let refused = ran(&filled(command)).expect_err(command);
        assert!(refused.contains(words), "{command}: {refused}");
    }
}

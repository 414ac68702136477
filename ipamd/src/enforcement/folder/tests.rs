use std::fs;

use super::*;

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

fn names(changes: &[Change]) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::Apply(object) => format!("+{}", object.reference()),
        Change::Delete(name) => format!("-{name}"),
    };
    changes.iter().map(name).collect()
}

#[test]
fn what_changes_in_the_files_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    let mut source = PolicyFolder::new(folder.path().to_owned());
    write(
        "a.yaml",
        &format!("{}---\n{}", namespace("a"), namespace("b")),
    );
    let (changes, problem) = source.changes().expect("readable");
    assert_eq!(names(&changes), ["+Namespace a", "+Namespace b"]);
    assert_eq!(problem, None);
    let (changes, _) = source.changes().expect("readable");
    assert!(changes.is_empty(), "{changes:?}");
    write("a.yaml", &namespace("b"));
    let (changes, _) = source.changes().expect("readable");
    assert_eq!(names(&changes), ["-Namespace a"]);
}

#[test]
fn while_a_file_is_wrong_what_it_said_stays_and_the_others_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    let mut source = PolicyFolder::new(folder.path().to_owned());
    write("a.yaml", &namespace("a"));
    source.changes().expect("readable");
    write("a.yaml", "kind: [");
    write("b.yaml", &namespace("b"));
    let (changes, problem) = source.changes().expect("readable");
    assert_eq!(names(&changes), ["+Namespace b"]);
    let problem = problem.expect("told");
    assert!(problem.contains("a.yaml is not YAML"), "{problem}");
    fs::remove_file(folder.path().join("a.yaml")).expect("removed");
    let (changes, problem) = source.changes().expect("readable");
    assert_eq!(
        (names(&changes), problem),
        (vec!["-Namespace a".to_owned()], None)
    );
}

#[test]
fn a_folder_that_is_missing_is_a_problem_and_takes_nothing_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policies");
    fs::create_dir(&path).expect("a folder");
    fs::write(path.join("a.yaml"), namespace("a")).expect("a file");
    let mut source = PolicyFolder::new(path.clone());
    source.changes().expect("readable");
    fs::remove_dir_all(&path).expect("removed");
    let problem = source.changes().expect_err("it is gone");
    assert!(
        problem.contains("failed to read the folder of policies"),
        "{problem}"
    );
    assert_eq!(source.told.len(), 1);
}

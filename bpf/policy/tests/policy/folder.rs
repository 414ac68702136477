//! Objects from files.

use std::fs;
use std::path::Path;

use veni_policy::folder::{self, Contents};

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: api}
spec: {podSelector: {}}
";

fn names(contents: &Contents) -> Vec<String> {
    contents
        .objects
        .iter()
        .map(|object| object.reference().to_string())
        .collect()
}

fn problems(contents: &Contents) -> Vec<String> {
    contents.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_folders_json_and_yaml_files_are_read_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().expect("folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write(
        "2.yml",
        "---\n# Nothing here.\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: two}\n",
    );
    write(
        "1.json",
        r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}]}"#,
    );
    write("3.yaml", POLICY);
    write(".4.yaml", POLICY);
    write("readme.txt", "no object");
    fs::create_dir(folder.path().join("5.yaml")).expect("created");
    let contents = folder::read(folder.path()).expect("read");
    assert_eq!(
        names(&contents),
        ["Pod default/one", "Namespace two", "NetworkPolicy shop/api"]
    );
    assert_eq!(problems(&contents), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_named_and_holds_back_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let write =
        |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).expect("written");
    write("1.json", b"{");
    write("2.yaml", b"\xff");
    write("3.yaml", POLICY.as_bytes());
    write("4.yaml", POLICY.as_bytes());
    write("5.yaml", b"kind: [");
    let contents = folder::read(folder.path()).expect("read");
    assert_eq!(names(&contents), ["NetworkPolicy shop/api"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let expected = [
        format!("{} is not JSON: ", path("1.json")),
        format!("failed to read {}", path("2.yaml")),
        format!(
            "{}: NetworkPolicy shop/api is already defined; remove one of the two",
            path("4.yaml")
        ),
        format!("{} is not YAML: ", path("5.yaml")),
    ];
    let said = problems(&contents);
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn a_malformed_document_does_not_hide_the_next_one() {
    let text = format!("kind: Service\n---{POLICY}");
    let contents = folder::parse(Path::new("all.yaml"), &text);
    assert_eq!(names(&contents), ["NetworkPolicy shop/api"]);
    assert!(problems(&contents)[0].starts_with("all.yaml: object without a name: kind: must be"));
}

#[test]
fn quoted_words_of_yaml_stay_text() {
    let text =
        "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {on: 'yes', n: '1'}}}";
    let contents = folder::parse(Path::new("a.yaml"), text);
    assert_eq!(problems(&contents), [""; 0]);
    assert_eq!(names(&contents), ["Namespace a"]);
}

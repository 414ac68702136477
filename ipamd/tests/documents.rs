//! The repository's documents: their links lead somewhere, and what docs/cni-specification.md
//! names is there; the alerts and the dashboard in deploy/metrics ask for what
//! docs/metrics.md lists. In the unit lane.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("a folder above").to_owned()
});

/// Files below a folder whose names end so, but for what is built or hidden.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let kept = paths.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| !name.starts_with('.') && name != "target")
    });
    let found = kept.flat_map(|path| match path.is_dir() {
        true => files(&path, end),
        false => vec![path],
    });
    let named = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(end));
    found.filter(named).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page without its blocks of code, where brackets are no links.
fn prose(text: &str) -> String {
    let mut code = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Where the links of a page lead.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let after = prose.split("](").skip(1);
    let targets = after.filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        });
        kept.collect()
    };
    headings.map(anchor).collect()
}

/// What is wrong with a link of a page in `folder`; nothing with one that leads elsewhere.
fn problem(page: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = page.parent().expect("a page lies in a folder");
    let path = match file {
        "" => page.to_owned(),
        file => folder.join(file),
    };
    if !path.exists() {
        return Some(format!("{}: {target} is not there", page.display()));
    }
    let known = anchor.is_empty() || path.is_dir() || anchors(&read(&path)).contains(anchor);
    (!known).then(|| format!("{}: {target} names no heading", page.display()))
}

#[test]
fn every_link_between_pages_leads_to_a_file_and_to_a_heading() {
    let mut looked_at = 0;
    let mut problems = Vec::new();
    for page in files(&ROOT, ".md") {
        for target in links(&read(&page)) {
            looked_at += 1;
            problems.extend(problem(&page, &target));
        }
    }
    assert!(looked_at > 100, "links are found: {looked_at}");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = ROOT.join("README.md");
    let wrong = links("[a](docs/none.md) [b](docs/pool.md#none)\n```\n[c](no-link)\n```\n");
    assert_eq!(wrong, ["docs/none.md", "docs/pool.md#none"]);
    for target in &wrong {
        assert!(problem(&page, target).is_some(), "{target}");
    }
    for target in [
        "docs/pool.md#holds",
        "docs/decisions/",
        "https://veni.example/x",
    ] {
        assert_eq!(problem(&page, target), None);
    }
}

/// What is written in backticks.
fn quoted(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

/// The rows of the page's tables: what the specification asks for, code, and tests.
fn rows(page: &str) -> Vec<[String; 3]> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|line| -> Vec<String> {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    });
    let rows = cells.filter_map(|cells| <[String; 3]>::try_from(cells).ok());
    rows.filter(|row| row[0] != "The specification").collect()
}

/// Whether a source has a function of that name.
fn has_function(source: &str, name: &str) -> bool {
    let starts = format!("fn {name}");
    let mut found = source.match_indices(&starts);
    found.any(|(at, _)| {
        let next = source[at + starts.len()..].chars().next();
        next.is_some_and(|next| next == '(' || next == '<')
    })
}

/// What is wrong with a row: code is a file with functions of it, tests are functions of
/// any file of tests.
fn row_problems(row: &[String; 3], tests: &[String]) -> Vec<String> {
    let [rule, code, proofs] = row;
    let mut problems = Vec::new();
    let mut source = String::new();
    for name in quoted(code) {
        if name.contains('/') {
            match fs::read_to_string(ROOT.join(&name)) {
                Ok(text) => source = text,
                Err(error) => problems.push(format!("{rule}: {name}: {error}")),
            }
        } else if !has_function(&source, &name) {
            problems.push(format!("{rule}: the code has no function {name}"));
        }
    }
    for name in quoted(proofs) {
        if !tests.iter().any(|text| has_function(text, &name)) {
            problems.push(format!("{rule}: there is no test {name}"));
        }
    }
    problems
}

#[test]
fn what_the_page_on_the_cni_specification_names_is_there() {
    let page = read(&ROOT.join("docs/cni-specification.md"));
    let sources: Vec<String> = files(&ROOT, ".rs").iter().map(|path| read(path)).collect();
    let tests: Vec<String> = sources
        .into_iter()
        .filter(|text| text.contains("test]") || text.contains("#[tokio::test"))
        .collect();
    let rows = rows(&page);
    assert!(rows.len() > 30, "rows are found: {}", rows.len());
    let problems = rows.iter().flat_map(|row| row_problems(row, &tests));
    let problems: Vec<String> = problems.collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_name_that_is_not_there_is_seen() {
    let tests = ["#[test]\nfn a_test() {}".to_owned()];
    let row = |code: &str, proof: &str| {
        let row = ["a rule".to_owned(), code.to_owned(), proof.to_owned()];
        row_problems(&row, &tests).len()
    };
    assert_eq!(row("`cni/src/lib.rs`, `run`", "`a_test`"), 0);
    assert_eq!(row("`cni/src/none.rs`", ""), 1);
    assert_eq!(row("`cni/src/lib.rs`, `no_such`", ""), 1);
    assert_eq!(row("", "`a_tes`"), 1, "a part of a name is none");
}

/// The alerts of deploy/metrics: each with the lines of its rule.
fn alerts(rules: &str) -> Vec<(String, String)> {
    let rules = rules.split("- alert: ").skip(1);
    let named = rules.filter_map(|rule| rule.split_once('\n'));
    named
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

#[test]
fn every_alert_has_a_runbook_and_a_case_in_which_it_fires() {
    let folder = ROOT.join("deploy/metrics");
    let cases = read(&folder.join("rules.test.yaml"));
    let alerts = alerts(&read(&folder.join("rules.yaml")));
    assert!(alerts.len() >= 15, "{alerts:?}");
    for (name, rule) in alerts {
        let line = rule
            .lines()
            .find_map(|line| line.split_once("runbook_url: "));
        let (_, runbook) = line.unwrap_or_else(|| panic!("{name} has no runbook_url"));
        assert!(runbook.contains('#'), "{name}: {runbook} names no section");
        // As the rules have it, relative to the repository.
        assert_eq!(problem(&ROOT.join("README.md"), runbook), None, "{name}");
        let fires = format!("alertname=\"{name}\"");
        assert!(cases.contains(&fires), "{name} has no case");
    }
}

/// The names of metrics in queries, as docs/metrics.md has them.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_of_name(letter));
    let words = words.filter(|word| word.starts_with("veni_") || word.starts_with("awscni_"));
    let families = words.map(|word| {
        let mut parts = ["_bucket", "_sum"].iter();
        let family = parts.find_map(|part| word.strip_suffix(part));
        // Counters of the AWS plugin end so, too.
        let count = word.strip_suffix("_seconds_count");
        let count = count.map(|begin| &word[..begin.len() + "_seconds".len()]);
        family.or(count).unwrap_or(word)
    });
    families.collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_a_daemon_has() {
    let page = read(&ROOT.join("docs/metrics.md"));
    let mut looked_at = 0;
    for file in ["dashboard.json", "rules.yaml"] {
        let text = read(&ROOT.join("deploy/metrics").join(file));
        for name in metrics_in(&text) {
            looked_at += 1;
            let row = format!("| `{name}` |");
            assert!(
                page.contains(&row),
                "{file}: {name} is not in docs/metrics.md"
            );
        }
    }
    assert!(looked_at > 30, "names are found: {looked_at}");
}

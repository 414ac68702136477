//! Objects from the files of a folder: a source of policies that needs no Kubernetes.
//!
//! A file whose name ends in `.json`, `.yaml` or `.yml` holds objects or Lists; YAML may hold several
//! documents. Folders below are not read, nor are names that begin with a dot (Kubernetes keeps
//! the older contents of a mounted ConfigMap in such). What cannot be read is a problem of its own:
//! the other objects are read all the same.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::objects::{Invalid, Object, Reference};

/// What a folder or a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// The objects, in the order of the files' names and of their places there.
    pub objects: Vec<Object>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Something of a file that is no object.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read at all.
    #[error("failed to read {}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The file's text is neither JSON nor YAML.
    #[error("{} is not {format}: {reason}", .path.display())]
    NotParsed {
        /// Which file.
        path: PathBuf,
        /// What its name says it is.
        format: &'static str,
        /// Where and why, as the parser says.
        reason: String,
    },
    /// An object is malformed.
    #[error("{}: {invalid}", .path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// The object, the field and the reason.
        invalid: Invalid,
    },
    /// An object stands in the folder twice; the first one counts.
    #[error("{}: {object} is already defined; remove one of the two", .path.display())]
    Twice {
        /// Where it stands for the second time.
        path: PathBuf,
        /// Kind and name.
        object: Reference,
    },
}

/// Reads the files of `folder`.
///
/// Errors: the folder itself cannot be listed.
pub fn read(folder: &Path) -> io::Result<Contents> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| format_of(path).is_some() && !path.is_dir());
    paths.sort();
    let mut reader = Reader::default();
    for path in paths {
        match fs::read_to_string(&path) {
            Ok(text) => reader.add(&path, &text),
            Err(source) => reader.refuse(Problem::Unreadable { path, source }),
        }
    }
    Ok(reader.contents)
}

/// Reads `text`, the contents of a file named `path`.
pub fn parse(path: &Path, text: &str) -> Contents {
    let mut reader = Reader::default();
    reader.add(path, text);
    reader.contents
}

fn format_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    match path.extension()?.to_str()? {
        _ if name.starts_with('.') => None,
        "json" => Some("JSON"),
        "yaml" | "yml" => Some("YAML"),
        _ => None,
    }
}

#[derive(Default)]
struct Reader {
    contents: Contents,
    seen: BTreeSet<Reference>,
}

impl Reader {
    fn add(&mut self, path: &Path, text: &str) {
        let format = format_of(path).unwrap_or("YAML");
        let documents: Result<Vec<Value>, String> = match format {
            "JSON" => serde_json::from_str(text)
                .map(|value| vec![value])
                .map_err(|error| error.to_string()),
            _ => serde_saphyr::from_multiple(text).map_err(|error| error.to_string()),
        };
        let path = path.to_owned();
        match documents {
            Ok(documents) => documents
                .into_iter()
                .filter(|document| !document.is_null())
                .flat_map(Object::read)
                .for_each(|result| self.take(&path, result)),
            Err(reason) => self.refuse(Problem::NotParsed {
                path,
                format,
                reason,
            }),
        }
    }

    fn take(&mut self, path: &Path, result: Result<Object, Invalid>) {
        let path = path.to_owned();
        match result {
            Ok(object) if self.seen.insert(object.reference()) => {
                self.contents.objects.push(object)
            }
            Ok(object) => self.refuse(Problem::Twice {
                path,
                object: object.reference(),
            }),
            Err(invalid) => self.refuse(Problem::Invalid { path, invalid }),
        }
    }

    fn refuse(&mut self, problem: Problem) {
        self.contents.problems.push(problem);
    }
}

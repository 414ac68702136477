//! Drives the small C program that starts plugins and times them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::command::run;

/// One execution of a plugin.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The plugin.
    pub(crate) program: PathBuf,
    /// Its standard input.
    pub(crate) input: PathBuf,
    /// Where its standard output goes.
    pub(crate) output: PathBuf,
    /// Its environment, `NAME=value`.
    pub(crate) environment: Vec<String>,
}

/// What came of a job.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Exit code; 128 + signal when it was killed.
    pub(crate) code: i32,
    /// From before exec to the end of the process, ns.
    pub(crate) nanoseconds: u64,
    /// CPU time of it and its children, µs.
    pub(crate) cpu_micros: u64,
    /// Peak memory, KiB.
    pub(crate) memory_kib: u64,
    /// Standard output.
    pub(crate) answer: String,
}

/// How jobs are started.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// One after the other.
    Series,
    /// All at the same instant.
    Burst,
}

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    program: PathBuf,
}

impl Starter {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Makes network namespaces `folder/0` and so on.
    pub(crate) fn namespaces(&self, folder: &Path, count: usize) -> anyhow::Result<()> {
        let program = self.program.display().to_string();
        let folder = folder.display().to_string();
        run(&[&program, "namespaces", &folder, &count.to_string()]).map(drop)
    }

    /// Runs jobs; outcomes come in the order of the jobs.
    pub(crate) fn start(&self, order: Order, jobs: &[Job]) -> anyhow::Result<Vec<Outcome>> {
        let order = match order {
            Order::Series => "series",
            Order::Burst => "burst",
        };
        let mut child = Command::new(&self.program)
            .arg(order)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to run {}", self.program.display()))?;
        let lines: String = jobs.iter().map(line).collect();
        // Writing everything first cannot block: the program reads all jobs before it
        // prints anything.
        child
            .stdin
            .take()
            .context("the starter has no standard input")?
            .write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("the starter failed: {}", output.status);
        }
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            text.lines().count() == jobs.len(),
            "the starter has answered for {} of {} jobs",
            text.lines().count(),
            jobs.len()
        );
        text.lines()
            .zip(jobs)
            .map(|(line, job)| read(line, job))
            .collect()
    }
}

fn line(job: &Job) -> String {
    let mut line = format!(
        "{}\t{}\t{}",
        job.program.display(),
        job.input.display(),
        job.output.display()
    );
    for variable in &job.environment {
        line.push('\t');
        line.push_str(variable);
    }
    line.push('\n');
    line
}

fn read(line: &str, job: &Job) -> anyhow::Result<Outcome> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [code, nanoseconds, cpu_micros, memory_kib] = fields[..] else {
        bail!("the starter said `{line}`");
    };
    Ok(Outcome {
        code: code.parse()?,
        nanoseconds: nanoseconds.parse()?,
        cpu_micros: cpu_micros.parse()?,
        memory_kib: memory_kib.parse()?,
        answer: fs::read_to_string(&job.output)?,
    })
}

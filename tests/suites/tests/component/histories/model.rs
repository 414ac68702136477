//! What must hold in every history, whatever happened. It reads lines of text and numbers,
//! and shares nothing with Veni, the arithmetic of addresses included. Each promise has a
//! file of its own; this passes the lines on.

mod calls;
mod limits;
mod pods;
mod pool;
mod ports;

use self::calls::Calls;
use self::limits::Limits;
use self::pods::Pods;
use self::pool::Pool;
use self::ports::Ports;
use super::log::{Line, Rest, What};

/// What a daemon with certain settings promises.
#[derive(Debug, Clone)]
pub(super) struct Promises {
    /// Milliseconds for which the address of a pod that has ended goes to nobody.
    pub(super) cooldown: u64,
    /// Free addresses that are wanted beyond the pods.
    pub(super) warm: u128,
    /// Per family of calls: its name, calls per second, and calls at once.
    pub(super) budgets: Vec<(&'static str, f64, f64)>,
    /// Calls while nobody asks anything of the daemon, at most.
    pub(super) idle_calls: u64,
}

/// For how long a CHECK may find what somebody took away, milliseconds.
const MENDED_AFTER: u64 = 120_000;

/// The code of an ADD one of whose ports leads to another pod.
const TAKEN: u32 = 103;

/// Reads a history line by line.
#[derive(Debug)]
struct Model<'a> {
    promises: &'a Promises,
    now: u64,
    pods: Pods,
    ports: Ports,
    limits: Limits,
    pool: Pool,
    calls: Calls,
    /// When somebody took ports or limits away, or a daemon began to look after that.
    tampered_at: Option<u64>,
    found: Vec<String>,
}

/// All that must not be, with its time.
pub(super) fn violations(promises: &Promises, lines: &[Line]) -> Vec<String> {
    let mut model = Model {
        promises,
        now: 0,
        pods: Pods::default(),
        ports: Ports::default(),
        limits: Limits::default(),
        pool: Pool::default(),
        calls: Calls::default(),
        tampered_at: None,
        found: Vec::new(),
    };
    for line in lines {
        model.now = line.at;
        model.read(&line.what);
    }
    model.found
}

impl Model<'_> {
    fn violated(&mut self, texts: impl IntoIterator<Item = String>) {
        let (seconds, millis) = (self.now / 1000, self.now % 1000);
        let texts = texts.into_iter();
        self.found
            .extend(texts.map(|text| format!("at {seconds}.{millis:03}: {text}")));
    }

    fn read(&mut self, what: &What) {
        match what {
            What::AddCalled {
                call,
                pod,
                ports,
                limits,
            } => {
                self.ports.begins(*call, pod, ports, &mut self.pods);
                self.limits.begins(pod, *limits);
            }
            What::AddAnswered {
                call,
                pod,
                addresses,
            } => self.added(*call, pod, addresses),
            What::AddFailed { call, pod, code } => {
                self.failed("ADD", *code, &[3, 5, 11, 100, 101, TAKEN]);
                match *code {
                    TAKEN => {
                        let refused = self.ports.refused(*call, pod, &mut self.pods);
                        self.violated(refused);
                    }
                    _ => self.ports.ended(*call),
                }
            }
            What::CallerGone { call } => self.ports.ended(*call),
            What::DelCalled { call, pod } | What::PodGone { call, pod } => {
                self.pods.ends(*call, pod, self.now);
            }
            What::NoteLeft { call, pod } => self.pods.note_left(*call, pod, self.now),
            What::DelAnswered { call, pod } => self.pods.deleted(*call, pod),
            What::DelFailed { code, .. } => self.failed("DEL", *code, &[101]),
            What::GcCalled { call, kept } => self.pods.collects(*call, kept, self.now),
            What::Checked {
                pod,
                known,
                differences,
            } => {
                let damaged = self.is_tampered();
                let found = self.pods.checked(pod, *known, *differences, damaged);
                self.violated(found);
            }
            What::Tampered { .. } => self.tampered_at = Some(self.now),
            What::Ready | What::Ended { .. } | What::FolderFull { .. } | What::Rebooted => {
                self.daemon(what);
            }
            What::Quiet => self.calls.be_quiet(),
            What::AtRest(rest) => self.rested(rest),
            What::Empty { rest, files, links } => {
                self.rested(rest);
                self.emptied(*files, links);
            }
            What::GcAnswered { .. } | What::ClockSet { .. } | What::Weather { .. } => {}
            cloud => self.cloud(cloud),
        }
    }

    fn daemon(&mut self, what: &What) {
        match what {
            What::Ready => {
                self.calls.begin_anew();
                self.tampered_at = self.tampered_at.map(|_| self.now);
                self.pool.begins(self.now);
            }
            What::Ended { .. } => {
                self.ports.cut_off();
                self.pool.ended(self.now);
            }
            What::FolderFull { full } => self.pool.folder_is_full(*full),
            What::Rebooted => {
                self.pool.rebooted();
                self.calls.begin_anew();
                self.pods.rebooted();
            }
            other => panic!("not of the daemon: {other:?}"),
        }
    }

    fn cloud(&mut self, what: &What) {
        let now = self.now;
        match what {
            What::Holds { interface, ranges } => {
                let found = self.pool.holds(interface, ranges, &self.pods);
                self.violated(found);
            }
            What::Detached { interface } => {
                let found = self.pool.holds(interface, &[], &self.pods);
                self.violated(found);
            }
            What::OtherGave { ranges } => self.pool.others_gave(ranges, now),
            What::OtherAttached { ranges } => self.pool.others_attached(ranges, now),
            What::OtherTook { ranges } => self.pool.others_take(ranges),
            What::CloudCalled {
                call,
                operation,
                family,
                changes,
            } => {
                if operation == "assign" {
                    self.pool.assigns(*call);
                }
                let found = self.calls.called(family, *changes, now, self.promises);
                self.violated(found);
            }
            What::CloudAnswered { call, certain } => self.pool.answered(*call, *certain, now),
            other => panic!("not of the cloud: {other:?}"),
        }
    }

    fn failed(&mut self, command: &str, code: u32, allowed: &[u32]) {
        let text = format!("an unexpected failure: {command} with code {code}");
        self.violated((!allowed.contains(&code)).then_some(text));
    }

    fn added(&mut self, call: u32, pod: &str, addresses: &[String]) {
        self.ports.ended(call);
        if !self.pods.is_news(call, pod, addresses) {
            return;
        }
        let mut found: Vec<String> = self.pods.changed(pod, addresses).into_iter().collect();
        if !self.pods.was_spared(pod, addresses) {
            let cooldown = self.promises.cooldown;
            for address in addresses {
                found.extend(self.pods.leased(pod, address, self.now, cooldown));
                found.extend(self.pool.leased(pod, address));
            }
        }
        found.extend(self.ports.led(pod, &self.pods));
        self.pods.lives(pod, addresses);
        self.violated(found);
    }

    fn is_tampered(&self) -> bool {
        self.tampered_at
            .is_some_and(|at| self.now < at + MENDED_AFTER)
    }

    /// Nothing has been asked for a long time: all agree, and the pool has what it wants.
    fn rested(&mut self, rest: &Rest) {
        let mut found: Vec<String> = self.calls.rested(self.promises).into_iter().collect();
        found.extend(self.pods.rested(&rest.routes));
        found.extend(self.limits.rested(&rest.routes, &self.pods));
        found.extend(self.ports.rested(&rest.ports, &self.pods));
        found.extend(self.pool.rested(rest, self.promises.warm, &self.pods));
        self.violated(found);
    }

    fn emptied(&mut self, files: usize, links: &[String]) {
        if files > 0 {
            self.violated([format!("left behind: {files} files of the journal")]);
        }
        if !links.is_empty() {
            self.violated([format!("left behind: links {links:?}")]);
        }
    }
}

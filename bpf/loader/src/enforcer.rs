//! All of it in one hand: programs, blocks and maps.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use rustix::time::{ClockId, clock_gettime};
use veni_policy::PodPolicy;

use crate::counters::{Counters, Counting};
use crate::endpoint::Endpoint;
use crate::endpoints::Endpoints;
use crate::fault::Fault;
use crate::flows::{Flows, Sweep};
use crate::netlink::Netlink;
use crate::node::{NodeRules, NodeTables};
use crate::program::{Program, TestPacket, TestVerdict};
use crate::records::Records;
use crate::sets::Sets;
use crate::tc::{self, Joined, Place};
use crate::{Error, filesystem};

/// The programs, as build.rs has compiled them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/veni.bpf.o"));

/// Of all flows, the part that one endpoint may have.
const SHARE: u32 = 8;

/// Where and how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Folder for pins, on a bpf file system; the one above it becomes one if it is none.
    pub pin_dir: PathBuf,
    /// Numbers of the tc blocks for what comes from pods and for what goes to them.
    pub block_numbers: (u32, u32),
    /// Flows that are remembered at most, of all pods. Holds from the first start on a node:
    /// later ones take over the map that is there.
    pub flows: u32,
    /// Name of the link that holds the blocks.
    pub holder: String,
}

/// As releases have it: room for 512 thousand flows, and numbers of blocks (`VEN1` and `VEN2` in
/// ASCII) that nobody chooses by hand.
impl Default for Settings {
    fn default() -> Self {
        Self {
            pin_dir: PathBuf::from("/sys/fs/bpf/veni"),
            block_numbers: (0x5645_4e31, 0x5645_4e32),
            flows: 512 * 1024,
            holder: "venihold".to_owned(),
        }
    }
}

/// Enforcement on one node. All verbs can be repeated. What they change stays when the
/// process ends.
pub struct Enforcer {
    settings: Settings,
    programs: Ebpf,
    folder: PathBuf,
    netlink: Mutex<Netlink>,
    node: Mutex<NodeTables>,
    /// Locked before `endpoints` where both are.
    sets: Mutex<Sets>,
    endpoints: Mutex<Endpoints>,
    flows: Mutex<Flows>,
    counting: Counting,
}

impl fmt::Debug for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enforcer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, of the clock that the programs read (CLOCK_MONOTONIC).
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

impl Enforcer {
    /// Loads the programs, takes over the maps that are pinned or makes them, and puts the
    /// programs on the blocks, each in one step in the place of an earlier process's.
    /// Works in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel refuses something, or others use a block.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let folder = filesystem::ensure(&settings.pin_dir)?;
        let mut programs = EbpfLoader::new()
            .default_map_pin_directory(&folder)
            .map_max_entries("flows", settings.flows)
            .map_max_entries("half_open", settings.flows)
            .load(OBJECT)
            .map_err(|error| Error::Load(Box::new(error)))?;
        for program in Program::ALL {
            load(&mut programs, program)?;
        }
        let mut netlink = Netlink::try_new()?;
        let mut endpoints = Endpoints::open(&folder)?;
        // Pods that ended while nobody was told of it.
        endpoints.dismiss_all_but(&tc::all_links(&mut netlink)?)?;
        let used = endpoints.sets()?;
        let enforcer = Self {
            netlink: Mutex::new(netlink),
            node: Mutex::new(NodeTables::open(&folder)?),
            sets: Mutex::new(Sets::open(&folder, &used)?),
            endpoints: Mutex::new(endpoints),
            flows: Mutex::new(Flows::open(&folder)?),
            counting: Counting::open(&folder)?,
            settings: settings.clone(),
            programs,
            folder,
        };
        enforcer.hang()?;
        Ok(enforcer)
    }

    /// Holds the blocks and puts the programs on them.
    fn hang(&self) -> Result<(), Error> {
        let mut netlink = lock(&self.netlink);
        let blocks = self.settings.block_numbers;
        for block in [blocks.0, blocks.1] {
            let found = tc::filters(&mut netlink, Place::Block(block))?;
            if let Some(first) = found.first().filter(|_| !found.iter().any(tc::ours)) {
                let found = format!("a filter {} {}", first.kind, first.name);
                return Err(Error::ForeignBlock { block, found });
            }
        }
        let holder = tc::ensure_holder(&mut netlink, &self.settings.holder)?;
        tc::join(&mut netlink, holder, blocks)?;
        for (program, block) in [(Program::FromPod, blocks.0), (Program::ToPod, blocks.1)] {
            self.put(&mut netlink, program, Place::Block(block))?;
        }
        Ok(())
    }

    fn put(&self, netlink: &mut Netlink, program: Program, place: Place) -> Result<(), Error> {
        let loaded = self.program(program)?;
        let descriptor = loaded.fd().map_err(|source| refused(program, source))?;
        tc::put(netlink, place, program.filter(), descriptor.as_fd())
    }

    fn program(&self, program: Program) -> Result<&SchedClassifier, Error> {
        let name = program.function();
        let found = self.programs.program(name).ok_or(Error::Lacking(name))?;
        found.try_into().map_err(|source| refused(program, source))
    }

    /// Takes an endpoint under enforcement: its entry first, then its link joins both
    /// blocks. A policy that the same generation has stays. Waits for no grace period
    /// of the kernel.
    ///
    /// # Errors
    /// The kernel refuses something; a link that is new stays without traffic.
    pub fn admit(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let mark_mask = lock(&self.node).mark_mask();
        let flow_limit = (self.settings.flows / SHARE).max(1);
        lock(&self.endpoints).admit(endpoint, mark_mask, flow_limit)?;
        let blocks = self.settings.block_numbers;
        tc::join(&mut lock(&self.netlink), endpoint.host_index, blocks)
    }

    /// Releases an endpoint. What passes its link from now on is dropped.
    ///
    /// # Errors
    /// The endpoint is still enforced.
    pub fn dismiss(&self, host_index: u32) -> Result<(), Error> {
        lock(&self.endpoints).dismiss(host_index)
    }

    /// Sets what an endpoint may receive and send, for all packets in one step. Flows that
    /// the new policy forbids end, others go on.
    ///
    /// # Errors
    /// The endpoint is not admitted, or the policy has no room; the one before it holds on.
    pub fn set_policy(&self, host_index: u32, policy: &PodPolicy) -> Result<(), Error> {
        let mut sets = lock(&self.sets);
        let ingress = sets.number(&policy.ingress)?;
        let egress = sets.number(&policy.egress)?;
        lock(&self.endpoints).switch(host_index, ingress, egress)
    }

    /// Judges what leaves by a cloud interface, too.
    ///
    /// # Errors
    /// The kernel refuses the filter; a qdisc `ingress` on the link excludes it.
    pub fn attach_uplink(&self, index: u32) -> Result<(), Error> {
        let mut netlink = lock(&self.netlink);
        tc::ensure_clsact(&mut netlink, index)?;
        self.put(&mut netlink, Program::Leaving, Place::Egress(index))
    }

    /// Judges it no longer. The link keeps its qdisc, which others may use.
    ///
    /// # Errors
    /// The filter is still there.
    pub fn detach_uplink(&self, index: u32) -> Result<(), Error> {
        tc::take(&mut lock(&self.netlink), Place::Egress(index))
    }

    /// Sets what holds for all pods. A mark mask holds for endpoints admitted later.
    ///
    /// # Errors
    /// Some of the rules may hold already; calling again goes on.
    pub fn set_node(&self, node: &NodeRules) -> Result<(), Error> {
        lock(&self.node).set(node)
    }

    /// Forgets flows that have ended, and rule sets that nobody has. For every few seconds.
    ///
    /// # Errors
    /// A map cannot be read or changed; the next call goes on.
    pub fn sweep(&self) -> Result<Sweep, Error> {
        let links: HashMap<u64, u32> = lock(&self.endpoints).generations()?;
        let mut sweep = lock(&self.flows).sweep(now(), &links)?;
        let mut sets = lock(&self.sets);
        let used: BTreeSet<u32> = lock(&self.endpoints).sets()?;
        sets.collect(&used)?;
        (sweep.peers, sweep.ports) = sets.sizes();
        Ok(sweep)
    }

    /// What was counted.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.counting.read()
    }

    /// A reader of records.
    ///
    /// # Errors
    /// The ring cannot be mapped into memory.
    pub fn records(&self) -> Result<Records, Error> {
        Records::open(&self.folder)
    }

    /// The policy that decided, by the numbers in a record; `None` for a set of an earlier
    /// process.
    pub fn origin(&self, set: u32, origin: u32) -> Option<String> {
        let sets = lock(&self.sets);
        let origins = &sets.rules(set)?.origins;
        origins.get(usize::try_from(origin).ok()?).cloned()
    }

    /// What is not as it should be, of the blocks, these endpoints' links and these uplinks.
    /// Changes nothing. [`start`](Self::start), [`admit`](Self::admit) and
    /// [`attach_uplink`](Self::attach_uplink) mend it.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn check(&self, host_indexes: &[u32], uplinks: &[u32]) -> Result<Vec<Fault>, Error> {
        let (mut netlink, mut faults) = (lock(&self.netlink), Vec::new());
        let blocks = self.settings.block_numbers;
        let holder = &self.settings.holder;
        match tc::index_of(&mut netlink, holder)? {
            Some(index) if tc::joined(&mut netlink, index, blocks)? == Joined::Blocks => {}
            _ => faults.push(Fault::HolderMissing(holder.clone())),
        }
        let mut places = vec![
            (Program::FromPod, Place::Block(blocks.0)),
            (Program::ToPod, Place::Block(blocks.1)),
        ];
        places.extend(
            uplinks
                .iter()
                .map(|i| (Program::Leaving, Place::Egress(*i))),
        );
        for (program, place) in places {
            let first = tc::filters(&mut netlink, place)?.into_iter().next();
            if first.is_none_or(|filter| filter.name != program.filter()) {
                let place = place.to_string();
                faults.push(Fault::ProgramMissing { program, place });
            }
        }
        for index in host_indexes {
            if lock(&self.endpoints).get(*index)?.is_none() {
                faults.push(Fault::NotAdmitted(*index));
            }
            if tc::joined(&mut netlink, *index, blocks)? != Joined::Blocks {
                faults.push(Fault::NotJoined(*index));
            }
            let foreign = tc::foreign_programs(&mut netlink, *index)?;
            if !foreign.is_empty() {
                faults.push(Fault::ForeignPrograms(*index, foreign.join(", ")));
            }
        }
        Ok(faults)
    }

    /// Runs a program over a packet that is made up (BPF_PROG_TEST_RUN), `repeat` times.
    /// What it counts, remembers and records is as of a real one.
    ///
    /// # Errors
    /// The kernel does not take the packet, or the link does not exist.
    pub fn test_run(
        &self,
        program: Program,
        packet: &TestPacket<'_>,
        repeat: u32,
    ) -> Result<TestVerdict, Error> {
        // Offsets in `struct __sk_buff`.
        const MARK: usize = 8;
        const INGRESS: usize = 36;
        const LINK: usize = 40;
        let mut context = [0; 192];
        for (at, value) in [
            (MARK, packet.mark),
            (INGRESS, packet.ingress_link),
            (LINK, packet.link),
        ] {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let mut after = [0; 192];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet.bytes);
        options.ctx_in = Some(&context);
        options.ctx_out = Some(&mut after);
        options.repeat = repeat;
        let result = self
            .program(program)?
            .test_run(options)
            .map_err(|source| refused(program, source))?;
        let mut mark = [0; 4];
        mark.copy_from_slice(&after[MARK..MARK + 4]);
        Ok(TestVerdict {
            // TC_ACT_SHOT; all else lets the packet pass.
            dropped: result.return_value == 2,
            mark: u32::from_ne_bytes(mark),
            duration: result.duration,
        })
    }

    /// Ends this process's part. Everything stays in force, and nothing is unpinned.
    pub fn stop(self) {
        drop(self);
    }
}

fn refused(program: Program, source: aya::programs::ProgramError) -> Error {
    Error::Program {
        program: program.function(),
        source: Box::new(source),
    }
}

fn load(programs: &mut Ebpf, program: Program) -> Result<(), Error> {
    let name = program.function();
    let found = programs.program_mut(name).ok_or(Error::Lacking(name))?;
    let classifier: Result<&mut SchedClassifier, _> = found.try_into();
    classifier
        .and_then(SchedClassifier::load)
        .map_err(|source| refused(program, source))
}

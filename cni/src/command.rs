//! The commands: each one call to the daemon, and what its answer means.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use veni_api::failure::{CniFailure, code};
use veni_api::v1::{AddRequest, Attachment, CheckRequest, DelRequest, GcRequest, StatusRequest};

use crate::daemon::{CallError, Daemon};
use crate::environment::{Command, Environment};
use crate::netconf::Netconf;
use crate::{netns, pending, result, version};

/// Serves a command whose input is sound. The answer is empty where the
/// specification has none.
///
/// # Errors
/// What the runtime is to be told.
pub fn serve(
    command: Command,
    environment: &Environment,
    netconf: &Netconf,
) -> Result<String, CniFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|reason| {
            CniFailure::new(
                code::IO_FAILURE,
                "failed to start the plugin's runtime",
                reason.to_string(),
            )
        })?;
    let mut call = Call {
        daemon: Daemon::new(netconf.socket(), command),
        environment,
        netconf,
    };
    runtime.block_on(async {
        match command {
            Command::Add => call.add().await,
            Command::Del => call.del().await.map(|()| String::new()),
            Command::Check => call.check().await.map(|()| String::new()),
            Command::Gc => call.gc().await.map(|()| String::new()),
            Command::Status => call.status().await.map(|()| String::new()),
            Command::Version => Ok(version::report(b"")),
        }
    })
}

struct Call<'a> {
    daemon: Daemon,
    environment: &'a Environment,
    netconf: &'a Netconf,
}

impl Call<'_> {
    fn attachment(&self) -> Attachment {
        Attachment {
            network: self.netconf.name.clone(),
            container_id: self.environment.container_id.clone(),
            interface_name: self.environment.interface_name.clone(),
        }
    }

    async fn add(&mut self) -> Result<String, CniFailure> {
        let environment = self.environment;
        let namespace = netns::open(&environment.netns)?;
        let request = AddRequest {
            attachment: Some(self.attachment()),
            pod: Some(environment.pod.clone()),
            mtu: self.netconf.mtu,
            is_default_gateway: self.netconf.is_default_gateway,
            port_mappings: self.netconf.port_mappings.clone(),
            bandwidth: self.netconf.bandwidth,
        };
        let response = self
            .daemon
            .call(Some(namespace.as_fd()), request, async |client, request| {
                client.add(request).await
            })
            .await
            .map_err(|error| self.daemon.failure(error))?;
        if response.addresses.is_empty() {
            return Err(CniFailure::new(
                code::TRY_AGAIN_LATER,
                "the node daemon gave the pod no address",
                "check that ipamd and veni-cni on this node are of versions that fit",
            ));
        }
        let result = result::of_add(
            &response,
            self.netconf,
            &environment.interface_name,
            &environment.netns,
        );
        Ok(result.to_string())
    }

    async fn del(&mut self) -> Result<(), CniFailure> {
        match self.ask_to_release().await {
            Err(CallError::Down(reason)) => self.remember(reason).await,
            answered => self.released(answered),
        }
    }

    async fn ask_to_release(&mut self) -> Result<(), CallError> {
        // A pod that loses one of several interfaces lives on; all others are gone
        // already, or will be.
        let namespace = netns::open(&self.environment.netns).ok();
        let request = DelRequest {
            attachment: Some(self.attachment()),
            pod: Some(self.environment.pod.clone()),
        };
        self.daemon
            .call(
                namespace.as_ref().map(AsFd::as_fd),
                request,
                async |client, request| client.del(request).await,
            )
            .await
            .map(|_| ())
    }

    /// What an answer to DEL means: there is nothing to do about an unknown
    /// container, and any other error makes the runtime ask again.
    fn released(&self, answer: Result<(), CallError>) -> Result<(), CniFailure> {
        match answer.map_err(|error| self.daemon.failure(error)) {
            Err(failure) if failure.code == code::UNKNOWN_CONTAINER => Ok(()),
            other => other,
        }
    }

    /// Leaves a note for the daemon, then looks once more whether it is there.
    /// One that has come up in between may have read the notes before ours;
    /// since it listens before it reads them, one of the two always works.
    async fn remember(&mut self, reason: std::io::Error) -> Result<(), CniFailure> {
        let note = match pending::leave(&self.netconf.run_dir, &self.attachment()) {
            Ok(note) => note,
            Err(error) if pending::is_out_of_room(&error) => {
                // The pod ends all the same: the daemon finds that its link is gone.
                let folder = self.netconf.run_dir.display();
                let line = format!("veni-cni: left no note about the DEL in {folder}: {error}");
                // One that nobody reads is no reason to fail.
                drop(writeln!(std::io::stderr(), "{line}"));
                None
            }
            Err(error) => return Err(self.not_remembered(&error, &reason)),
        };
        match self.ask_to_release().await {
            Err(CallError::Down(_)) => Ok(()),
            answered => {
                let outcome = self.released(answered);
                // A note that stays is worked off later, to no effect.
                drop(note.map(pending::Note::withdraw));
                outcome
            }
        }
    }

    fn not_remembered(&self, error: &std::io::Error, reason: &std::io::Error) -> CniFailure {
        let folder = self.netconf.run_dir.join(veni_api::PENDING_DIR);
        CniFailure::new(
            code::IO_FAILURE,
            "failed to remember the DEL for the node daemon, which is down",
            format!("writing to {}: {error}; daemon: {reason}", folder.display()),
        )
    }

    async fn check(&mut self) -> Result<(), CniFailure> {
        let namespace = netns::open(&self.environment.netns)?;
        let expected = self.netconf.previous.as_ref();
        let request = CheckRequest {
            attachment: Some(self.attachment()),
            expected_addresses: expected
                .map(|previous| previous.addresses_of(&self.environment.interface_name))
                .unwrap_or_default(),
        };
        let response = self
            .daemon
            .call(Some(namespace.as_fd()), request, async |client, request| {
                client.check(request).await
            })
            .await
            .map_err(|error| self.daemon.failure(error))?;
        if response.differences.is_empty() {
            return Ok(());
        }
        Err(CniFailure::new(
            code::DIFFERS,
            "the pod's network is not as ADD has made it",
            response.differences.join("; "),
        ))
    }

    async fn gc(&mut self) -> Result<(), CniFailure> {
        let network = &self.netconf.name;
        let valid = self.netconf.valid.iter().map(|valid| Attachment {
            network: network.clone(),
            container_id: valid.container_id.clone(),
            interface_name: valid.interface_name.clone(),
        });
        let request = GcRequest {
            network: network.clone(),
            valid: valid.collect(),
        };
        self.daemon
            .call(None, request, async |client, request| {
                client.gc(request).await
            })
            .await
            .map(|_| ())
            .map_err(|error| self.daemon.failure(error))
    }

    /// A daemon that has been ready in this boot and is away now will be back:
    /// telling "not available" would have the node's healthy pods evicted.
    async fn status(&mut self) -> Result<(), CniFailure> {
        let asked = self
            .daemon
            .call(None, StatusRequest {}, async |client, request| {
                client.status(request).await
            })
            .await;
        match asked {
            Ok(_) => Ok(()),
            Err(error @ CallError::Answered(_)) => Err(self.daemon.failure(error)),
            Err(_) if was_ready_in_this_boot(&self.netconf.run_dir) => Ok(()),
            Err(error) => {
                let failure = self.daemon.failure(error);
                Err(CniFailure::new(
                    code::NOT_AVAILABLE,
                    "the node daemon has not been ready since the node started",
                    crate::error::line(&failure),
                ))
            }
        }
    }
}

fn was_ready_in_this_boot(run_dir: &Path) -> bool {
    let ready = std::fs::read_to_string(run_dir.join(veni_api::READY_FILE));
    match (ready, pending::boot_id()) {
        (Ok(ready), Some(boot)) => ready.trim() == boot,
        _ => false,
    }
}

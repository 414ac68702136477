//! The kernel's settings under `/proc/sys/net`, of the calling thread's network
//! namespace. A setting is read first and written only when it differs.

use std::path::Path;
use std::sync::LazyLock;
use std::{fs, io};

use rustix::fs::{Access, PROC_SUPER_MAGIC, access, statfs};

use super::errno;
use super::netlink::Mode;
use crate::KernelError;
use crate::plan::{Repair, RepairKind};

/// Where a container that is not `privileged` has the host's settings: its own `/proc/sys` is
/// read-only. Whatever path leads to the kernel's folder, it shows the settings of the calling
/// thread's network namespace.
const OF_THE_HOST: &str = "/host/proc/sys";

/// The folder of all settings.
static FOLDER: LazyLock<&str> = LazyLock::new(|| match is_the_kernel_s(OF_THE_HOST.as_ref()) {
    true => OF_THE_HOST,
    false => "/proc/sys",
});

/// Whether a folder's `net` is the kernel's, and not a folder of somebody's making.
fn is_the_kernel_s(folder: &Path) -> bool {
    statfs(folder.join("net")).is_ok_and(|about| about.f_type == PROC_SUPER_MAGIC)
}

/// One setting, by its path under `/proc/sys`. Link names may hold dots, so the
/// dotted form that `sysctl` takes is for texts alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    path: String,
}

impl Setting {
    pub(crate) fn ipv4(name: &str) -> Self {
        Self {
            path: format!("net/ipv4/{name}"),
        }
    }

    pub(crate) fn ipv6(name: &str) -> Self {
        Self {
            path: format!("net/ipv6/{name}"),
        }
    }

    fn file(&self) -> String {
        format!("{}/{}", *FOLDER, self.path)
    }

    pub(crate) fn get(&self) -> io::Result<String> {
        Ok(fs::read_to_string(self.file())?.trim().to_owned())
    }

    /// Writes without looking first.
    pub(crate) fn write(&self, value: &str) -> io::Result<()> {
        fs::write(self.file(), value)
    }

    /// Makes the setting where it is otherwise, and says what to do where that is
    /// impossible. `breaks` is what does not work while it is.
    pub(crate) fn ensure(
        &self,
        value: &str,
        breaks: &'static str,
        mode: Mode,
    ) -> Result<Option<Repair>, Unsettable> {
        let make = |value| match mode {
            Mode::Make => self.write(value),
            Mode::Compare => Ok(access(self.file(), Access::WRITE_OK)?),
        };
        let outcome = match self.get() {
            Ok(present) if present == value => Ok(None),
            Ok(present) => make(value).map(|()| {
                let object = format!("setting {}", self.path);
                let state = format!("{present} instead of {value}");
                Some(Repair::new(RepairKind::Setting, object, state, breaks))
            }),
            Err(error) => Err(error),
        };
        outcome.map_err(|error| Unsettable {
            setting: self.clone(),
            value: value.to_owned(),
            error,
        })
    }
}

/// A setting that could not be made.
#[derive(Debug)]
pub(crate) struct Unsettable {
    setting: Setting,
    value: String,
    error: io::Error,
}

impl Unsettable {
    /// As one sentence, with its consequence.
    pub(crate) fn warning(&self, consequence: &str) -> String {
        format!(
            "{consequence}: {}={} could not be set ({}); set it on the node with: \
             sysctl -w {}={}",
            self.setting.path, self.value, self.error, self.setting.path, self.value
        )
    }

    pub(crate) fn into_error(self) -> KernelError {
        let operation = format!(
            "set {}={} (on the node: sysctl -w {}={})",
            self.setting.path, self.value, self.setting.path, self.value
        );
        errno::refused(operation, self.error)
    }

    /// The kernel lacks the setting, as a rule because IPv6 is switched off.
    pub(crate) fn missing(&self) -> bool {
        errno::no_such_setting(&self.error)
    }
}

/// Whether the kernel speaks IPv6 in this namespace.
pub(crate) fn has_ipv6() -> bool {
    Setting::ipv6("conf/all/forwarding").get().is_ok()
}

/// Neither a pod nor the network of a secondary interface may give the node a
/// default route: router advertisements are ignored on the host's end of a veth
/// pair, and on secondary interfaces.
pub(crate) fn ignore_router_advertisements(link: &str) -> Result<(), KernelError> {
    let accept = Setting::ipv6(&format!("conf/{link}/accept_ra"));
    let Err(error) = accept.write("0") else {
        return Ok(());
    };
    if errno::no_such_setting(&error) {
        return Ok(()); // no IPv6 on this link, so no advertisements either
    }
    // A link that forwards accepts advertisements only when told so with 2.
    let forwarding = Setting::ipv6(&format!("conf/{link}/forwarding")).get();
    match (accept.get().as_deref(), forwarding.as_deref()) {
        (Ok("0"), _) | (Ok("1"), Ok("1")) => Ok(()),
        _ => Err(errno::refused(
            format!(
                "set net.ipv6.conf.{link}.accept_ra=0 (with /proc/sys read-only, set \
                 net.ipv6.conf.default.accept_ra=0 or net.ipv6.conf.all.forwarding=1 on the node)"
            ),
            error,
        )),
    }
}

/// Lets a link have IPv6 addresses. For the namespace of a pod whose runtime
/// switched IPv6 off by default.
pub(crate) fn allow_ipv6(link: &str) -> io::Result<()> {
    switch(link).write("0")
}

/// Where IPv6 is switched off in a pod: for the links that are there, for those to
/// come, and for loopback by its own name, as operators look it up.
const POD_SWITCHES: [&str; 3] = ["all", "default", "lo"];

fn switch(link: &str) -> Setting {
    Setting::ipv6(&format!("conf/{link}/disable_ipv6"))
}

/// Switches IPv6 off in the calling thread's namespace.
pub(crate) fn switch_ipv6_off() -> Result<(), KernelError> {
    for link in POD_SWITCHES {
        let breaks = "the pod is reached by IPv6, which the settings switch off";
        if let Err(unsettable) = switch(link).ensure("1", breaks, Mode::Make)
            && !unsettable.missing()
        {
            let operation = format!(
                "switch IPv6 off in the pod (net.ipv6.conf.{link}.disable_ipv6=1; the daemon \
                 needs /proc/sys writable for that)"
            );
            return Err(errno::refused(operation, unsettable.error));
        }
    }
    Ok(())
}

/// Where IPv6 is on in the calling thread's namespace, loopback and a link included.
pub(crate) fn where_ipv6_is_on(pod_link: &str) -> Vec<String> {
    let places = POD_SWITCHES.into_iter().chain([pod_link]);
    places
        .filter(|link| switch(link).get().is_ok_and(|value| value != "1"))
        .map(str::to_owned)
        .collect()
}

/// Whether a link takes addresses and routes from router advertisements, as far as
/// its own setting says.
pub(crate) fn hears_routers(link: &str) -> bool {
    let accept = Setting::ipv6(&format!("conf/{link}/accept_ra"));
    accept.get().is_ok_and(|value| value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernel_s_own_folder_has_settings() {
        assert!(is_the_kernel_s("/proc/sys".as_ref()));
        assert!(!is_the_kernel_s("/".as_ref()), "it has no net");
        let net_of_another_kind = "/sys/class".as_ref();
        assert!(!is_the_kernel_s(net_of_another_kind));
    }
}

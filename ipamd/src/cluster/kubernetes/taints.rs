//! Which taints of the node the daemon removes or sets.

use k8s_openapi::api::core::v1::Taint;

/// On a node to which no address can come.
pub(super) const NO_ADDRESSES: &str = "veni.dev/no-addresses";

/// What shall become of the node's taints; all others stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaintWish<'a> {
    /// Key of those that go, because pods are served.
    pub(super) startup: Option<&'a str>,
    /// Whether pods are kept away because no address can come.
    pub(super) no_addresses: bool,
}

impl TaintWish<'_> {
    /// Whether taints of these keys are as they shall be.
    pub(super) fn is_met<'k>(&self, keys: impl Iterator<Item = &'k str>) -> bool {
        let mut tainted = false;
        for key in keys {
            if self.startup == Some(key) {
                return false;
            }
            tainted |= key == NO_ADDRESSES;
        }
        tainted == self.no_addresses
    }

    /// The taints as they shall be.
    pub(super) fn apply(&self, mut taints: Vec<Taint>) -> Vec<Taint> {
        let goes =
            |key: &str| self.startup == Some(key) || (key == NO_ADDRESSES && !self.no_addresses);
        taints.retain(|taint| !goes(&taint.key));
        let mut keys = taints.iter();
        if self.no_addresses && !keys.any(|taint| taint.key == NO_ADDRESSES) {
            taints.push(Taint {
                key: NO_ADDRESSES.to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            });
        }
        taints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(taints: &[Taint]) -> Vec<&str> {
        taints.iter().map(|taint| taint.key.as_str()).collect()
    }

    #[test]
    fn only_the_daemon_s_own_taints_come_and_go() {
        let taint = |key: &str| Taint {
            key: key.to_owned(),
            effect: "NoExecute".to_owned(),
            ..Taint::default()
        };
        let before = vec![taint("other"), taint("veni.dev/not-ready")];
        for (startup, no_addresses, after) in [
            (Some("veni.dev/not-ready"), false, vec!["other"]),
            (None, false, vec!["other", "veni.dev/not-ready"]),
            (
                Some("veni.dev/not-ready"),
                true,
                vec!["other", NO_ADDRESSES],
            ),
        ] {
            let wish = TaintWish {
                startup,
                no_addresses,
            };
            let applied = wish.apply(before.clone());
            assert_eq!(keys(&applied), after);
            assert!(wish.is_met(keys(&applied).into_iter()));
            let changes = keys(&before) != after;
            assert_eq!(wish.is_met(keys(&before).into_iter()), !changes);
            assert_eq!(wish.apply(applied.clone()), applied, "again");
        }
        let gone = TaintWish {
            startup: None,
            no_addresses: false,
        };
        let tainted = vec![taint(NO_ADDRESSES)];
        assert!(!gone.is_met(keys(&tainted).into_iter()));
        assert_eq!(keys(&gone.apply(tainted)), Vec::<&str>::new());
    }
}

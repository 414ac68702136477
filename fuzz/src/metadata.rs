//! What instance metadata tells of an interface: its MAC, and a text for each thing that is
//! asked for. A byte 0 ends each.

use std::collections::BTreeSet;

/// It is an interface that makes sense, or none.
pub(crate) fn survives(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut texts = text.split('\0');
    let mac = texts.next().unwrap_or_default();
    let Ok(Some(interface)) = veni_provider_aws::read_interface(mac, texts) else {
        return;
    };
    let own: BTreeSet<_> = interface.own_addresses.iter().collect();
    let shared = interface.addresses.iter().find(|one| own.contains(one));
    assert_eq!(shared.filter(|one| one.is_ipv6()), None, "own and a pod's");
}

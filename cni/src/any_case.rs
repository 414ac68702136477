//! What a runtime passes for a capability. Plugins that are written in Go read its fields
//! in any case of their letters, and containerd counts on it.

use serde_json::Value;

/// A field in any case of its letters: containerd writes `HostPort` and `IngressRate`.
pub(crate) fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let exact = object.get(name);
    exact.or_else(|| {
        let mut fields = object.as_object()?.iter();
        let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    })
}

//! Opens the programs' maps by their pins, each as often as somebody needs it.

use std::path::Path;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap};

use crate::Error;
use crate::layout::OwnedAddress;

/// A prefix and whose it is.
pub(crate) type PrefixKey = Key<OwnedAddress>;

fn open<T>(
    folder: &Path,
    name: &'static str,
    typed: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, Error> {
    MapData::from_pin(folder.join(name))
        .and_then(Map::from_map_data)
        .and_then(typed)
        .map_err(Error::map("open", name))
}

pub(crate) fn hash<K: Pod, V: Pod>(
    folder: &Path,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, Error> {
    open(folder, name, HashMap::try_from)
}

pub(crate) fn array<V: Pod>(folder: &Path, name: &'static str) -> Result<Array<MapData, V>, Error> {
    open(folder, name, Array::try_from)
}

pub(crate) fn trie<K: Pod, V: Pod>(
    folder: &Path,
    name: &'static str,
) -> Result<LpmTrie<MapData, K, V>, Error> {
    open(folder, name, LpmTrie::try_from)
}

pub(crate) fn per_cpu_array<V: Pod>(
    folder: &Path,
    name: &'static str,
) -> Result<PerCpuArray<MapData, V>, Error> {
    open(folder, name, PerCpuArray::try_from)
}

pub(crate) fn per_cpu_hash<K: Pod, V: Pod>(
    folder: &Path,
    name: &'static str,
) -> Result<PerCpuHashMap<MapData, K, V>, Error> {
    open(folder, name, PerCpuHashMap::try_from)
}

pub(crate) fn ring(
    folder: &Path,
    name: &'static str,
) -> Result<aya::maps::RingBuf<MapData>, Error> {
    open(folder, name, aya::maps::RingBuf::try_from)
}

/// Whether the element was not there.
pub(crate) fn absent(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(call) => call.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// `None` where the element is not there.
pub(crate) fn optional<V>(
    answer: Result<V, MapError>,
    map: &'static str,
) -> Result<Option<V>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(Error::map("read", map)(error)),
    }
}

/// Success also where the element was not there.
pub(crate) fn gone(answer: Result<(), MapError>, map: &'static str) -> Result<(), Error> {
    match answer {
        Err(error) if !absent(&error) => Err(Error::map("remove an element of", map)(error)),
        _ => Ok(()),
    }
}

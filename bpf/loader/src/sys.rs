//! Says of the shared structures that any bytes are a value of theirs.
#![expect(
    unsafe_code,
    reason = "aya asks for a promise about each type in a map"
)]

use aya::Pod;

use crate::layout::{
    Address, ClassPort, EndpointValue, FlowKey, FlowValue, HalfOpenKey, NodeValue, OwnedAddress,
    RecordBudget, Usage, Verdicts,
};

macro_rules! plain_bytes {
    ($($type:ty),*) => {$(
        // SAFETY: made of integers and arrays of integers, `repr(C)`, without padding.
        unsafe impl Pod for $type {}
    )*};
}

plain_bytes!(
    Address,
    ClassPort,
    EndpointValue,
    FlowKey,
    FlowValue,
    HalfOpenKey,
    NodeValue,
    OwnedAddress,
    RecordBudget,
    Usage,
    Verdicts
);

//! What `veni check` tells: the differences between journal, kernel, cloud and what the
//! daemon believes, each with what it breaks and its cure.
//!
//! [`gather`] asks everybody, [`compare`] decides what of the answers is a difference, and
//! [`finding`] puts it into words. Nothing here repairs: that is the reconciler's, which is
//! asked to compare everything at once.

mod compare;
mod facts;
mod finding;
mod gather;

pub(crate) use finding::{Cure, Finding};
pub(crate) use gather::{Asked, Checker, Report};

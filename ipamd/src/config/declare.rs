//! The words by which a provider's file declares its settings.

pub(crate) use super::choice::ProviderSettings;
pub(crate) use super::groups::Config;
pub(crate) use super::parse::{Parsed, wrong};
pub(crate) use super::provider::ProviderDeclaration;
pub(crate) use super::reader::Reader;
pub(crate) use super::setting::{
    Setting, one_of, read_by, read_if_set, seconds, text, text_if_set, truth,
};
pub(crate) use super::variable::{Condition, Decided, DefaultValue, Situation, Variable};

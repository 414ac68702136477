//! The log: to standard error, as text or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Config, LogFormat};

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("AWS_VPC_K8S_CNI_LOGLEVEL={filter}: {reason}")]
    Filter {
        /// What was given.
        filter: String,
        /// Why it does not parse.
        reason: String,
    },
    /// Another log was set up before.
    #[error("the log was set up twice")]
    Twice,
}

/// Sets the log of the process up, once.
///
/// # Errors
/// See [`LoggingError`].
pub fn init(config: &Config) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|error| LoggingError::Filter {
        filter: config.log_filter.clone(),
        reason: error.to_string(),
    })?;
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let set = match config.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    set.map_err(|_| LoggingError::Twice)
}

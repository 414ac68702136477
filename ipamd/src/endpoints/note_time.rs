//! Whether a DEL that was noted while no daemon ran came after an ADD.

use crate::journal::endpoint::Record;

/// When a DEL came of which a note was left.
#[derive(Debug, Clone, Copy)]
pub struct NoteTime {
    /// Milliseconds since the epoch.
    pub unix_ms: u64,
    /// Milliseconds since the boot; `None` in notes of older plugins.
    pub boot_ms: Option<u64>,
}

impl NoteTime {
    /// Whether the DEL came after an endpoint's ADD. The clock that people set tells only
    /// where one of the two is of an older build.
    pub(crate) fn is_after(self, record: &Record) -> bool {
        match self.boot_ms {
            Some(boot_ms) if record.created_boot_ms > 0 => record.created_boot_ms <= boot_ms,
            _ => record.created_ms <= self.unix_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::record;
    use super::*;

    #[test]
    fn the_boot_s_clock_decides_where_both_sides_have_it() {
        let mut added = record("a");
        for (created_ms, created_boot_ms, boot_ms, after) in [
            // Somebody set the clock back after the ADD, or ahead.
            (9_000, 500, Some(600), true),
            (1_000, 500, Some(400), false),
            (1_000, 500, Some(500), true),
            // Of older builds the time of day is all there is.
            (1_000, 0, Some(1), true),
            (9_000, 0, Some(600), false),
            (1_000, 500, None, true),
            (9_000, 500, None, false),
            (5_000, 500, None, true),
        ] {
            (added.created_ms, added.created_boot_ms) = (created_ms, created_boot_ms);
            let noted = NoteTime {
                unix_ms: 5_000,
                boot_ms,
            };
            let case = (created_ms, created_boot_ms, boot_ms);
            assert_eq!(noted.is_after(&added), after, "{case:?}");
        }
    }
}

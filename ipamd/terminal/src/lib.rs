//! What the programs print for people: text on standard output and standard
//! error, whose readers may go away, about things whose names others choose.
//!
//! [`println!`], [`print!`] and [`eprintln!`] take the place of the standard
//! library's, which panic when nobody reads, and which the workspace's lints
//! forbid. A program ends with [`finish`].

pub mod output;
pub mod printable;

pub use output::{finish, reader_is_gone};

/// Prints to standard output, and a newline.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::output::write_line(::std::format_args!($($text)*)) };
}

/// Prints to standard output.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::output::write(::std::format_args!($($text)*)) };
}

/// Prints to standard error, and a newline.
#[macro_export]
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::write_error_line(::std::format_args!($($text)*)) };
}

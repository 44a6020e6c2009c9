//! What people and programs read: data on stdout, everything else on stderr.

pub(crate) mod age;
pub(crate) mod object;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod terminal;

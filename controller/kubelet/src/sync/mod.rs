//! What follows tenants' pods into the host, and what the host says back.

pub mod claims;
pub mod data;
pub mod events;
pub mod services;

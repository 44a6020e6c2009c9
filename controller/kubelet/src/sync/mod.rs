//! What follows tenants' pods into the host, and what the host says back.

pub mod claims;
pub mod copies;
pub mod copy;
pub mod data;
pub mod denied;
pub mod drift;
pub mod endpoints;
pub mod events;
pub mod pairs;
pub mod repair;
pub mod services;
pub mod told;
pub mod writers;

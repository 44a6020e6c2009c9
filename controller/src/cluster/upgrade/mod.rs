//! From one version of K3s to the next: one server after the other, and only while the others are well; taken back if the first does not
//! start.
//!
//! What is kept in the status decides: [`ClusterStatus::version`](k3k_api::v1beta1::ClusterStatus) is the version that ran last, and
//! [`UpgradeStatus`](k3k_api::v1beta1::UpgradeStatus) is a change of it. The StatefulSet's partition holds back the servers whose turn
//! has not come.

mod decide;
mod step;

pub use decide::Course;
pub use step::{image_tag, step};

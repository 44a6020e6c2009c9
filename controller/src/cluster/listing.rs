//! How what is watched is listed at first.

use kube::runtime::watcher::Config;

/// Objects of one answer. Each answer is held twice, as text and as objects, before what is not needed of them is dropped: by default, 500 pods
/// with all that they say.
const PAGE: u32 = 50;

/// All objects, in pages that are small in memory.
pub fn in_pages() -> Config {
    Config::default().page_size(PAGE)
}

//! x
use crate::Site;
pub(crate) fn run(_: &mut Site, _: &std::path::Path) -> bool {
    false
}

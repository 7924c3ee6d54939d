//! `[access]`, and the `access` of a listener: who may connect, and what they may do.

use std::sync::Arc;

use super::Input;
use super::buffer::path;
use crate::section::Section;
use crate::{Access, AclRule, Login};

/// Reads a table of access; what it does not say is as in `otherwise`.
pub(super) fn access(section: &mut Section<'_, '_>, input: &Input<'_>, otherwise: &Access) -> Access {
    Access {
        anonymous: section.flag("anonymous").unwrap_or(otherwise.anonymous),
        logins: logins(section, input).or_else(|| otherwise.logins.clone()),
        acl: acl(section, input).or_else(|| otherwise.acl.clone()),
    }
}

/// The access of a listener: `[access]`, and over it what the listener says.
pub(super) fn listener_access(section: &mut Section<'_, '_>, input: &Input<'_>, shared: &Access) -> Access {
    let Some(node) = section.take("access") else { return shared.clone() };
    let Some(mut inner) = Section::open(node, "access", section.mistakes) else { return shared.clone() };
    let access = access(&mut inner, input, shared);
    inner.finish();
    access
}

fn logins(section: &mut Section<'_, '_>, input: &Input<'_>) -> Option<Arc<[Login]>> {
    let path = path(section, "password_file", input.folder);
    // A path that is wrong is reported already; the file counts as there.
    path.map(|path| input.access.logins(&path).unwrap_or_default())
        .or_else(|| section.key("password_file").map(|_| Arc::default()))
}

fn acl(section: &mut Section<'_, '_>, input: &Input<'_>) -> Option<Arc<[AclRule]>> {
    path(section, "acl_file", input.folder).map(|path| input.access.acl(&path).unwrap_or_default())
}

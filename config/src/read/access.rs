//! `[access]`, and the `access` of a listener: who may connect, and what they may do.

use std::sync::Arc;

use super::Input;
use super::buffer::path;
use crate::Access;
use crate::section::Section;

/// Reads a table of access; what it does not say is as in `otherwise`.
pub(super) fn access(section: &mut Section<'_, '_>, input: &Input<'_>, otherwise: &Access) -> Access {
    let anonymous = section.flag("anonymous").unwrap_or(otherwise.anonymous);
    let password_file = path(section, "password_file", input.folder);
    let acl_file = path(section, "acl_file", input.folder);
    // A path that is wrong is reported already; the file counts as there.
    let is_wrong = password_file.is_none() && section.key("password_file").is_some();
    let logins = password_file.as_deref().map(|path| input.access.logins(path).unwrap_or_default());
    let acl = acl_file.as_deref().map(|path| input.access.acl(path).unwrap_or_default());
    Access {
        anonymous,
        logins: logins.or_else(|| is_wrong.then(Arc::default)).or_else(|| otherwise.logins.clone()),
        password_file: password_file.or_else(|| otherwise.password_file.clone()),
        acl: acl.or_else(|| otherwise.acl.clone()),
        acl_file: acl_file.or_else(|| otherwise.acl_file.clone()),
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
